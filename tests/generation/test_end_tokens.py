"""Several end tokens: which count, that each stops an answer, and that a saved model keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from rag_graph.config import ModelConfig
from rag_graph.generation.end_tokens import before_end, end_token_ids, ended
from rag_graph.generation.generate import generate_texts
from rag_graph.generation.language_model import load_language_model
from rag_graph.generation.marginal import rag_token_responses
from rag_graph.generation.sampling import generate_responses, sample_responses


def test_what_tokenizer_and_configs_declare(make_chat_tokenizer: Callable[..., Any], make_llama: Any) -> None:
    tokenizer = make_chat_tokenizer()
    eos, end = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end>")
    model = make_llama(tokenizer)
    assert end_token_ids(model, tokenizer) == (eos,)
    model.generation_config.eos_token_id = [eos, end]
    assert end_token_ids(model, tokenizer) == (eos, end)
    model.generation_config = GenerationConfig()
    model.config.eos_token_id = [end, 9]
    assert end_token_ids(model, tokenizer) == (eos, end, 9), "an ordinary token counts where it is declared"
    model.config.eos_token_id = end
    assert end_token_ids(model, tokenizer) == (eos, end)
    model.config.eos_token_id = 5000
    assert end_token_ids(model, tokenizer) == (eos,), "no such token can be written"
    model.config.eos_token_id = [eos, tokenizer.pad_token_id]
    assert end_token_ids(model, tokenizer) == (eos, tokenizer.pad_token_id)


def test_the_default_of_a_config_class_is_no_declaration(tiny_model: Callable[[int], Any], make_llama: Any) -> None:
    _, tokenizer = tiny_model(1)
    model = make_llama(tokenizer, eos_token_id=2)  # what LlamaConfig has where nobody says anything
    assert tokenizer.eos_token_id == 1
    assert end_token_ids(model, tokenizer) == (1,)
    model.generation_config.eos_token_id = [1, 2]
    assert end_token_ids(model, tokenizer) == (1, 2)


def test_each_end_token_stops_an_answer(tiny_model: Callable[[int], Any]) -> None:
    model, tokenizer = tiny_model(3)
    model.eval()
    queries = tokenizer(["red", "the red kettle from oslo", "where is it ?"], add_special_tokens=False)["input_ids"]
    noise = torch.rand(3, 12, generator=torch.Generator().manual_seed(0))
    free = sample_responses(model, queries, 12, noise, 1.0, [], 0, 4)
    stops = (free[0][3], free[1][5])
    found = sample_responses(model, queries, 12, noise, 1.0, stops, 0, 4)
    for whole, cut in zip(free, found, strict=True):
        place = next((t for t, token in enumerate(whole) if token in stops), 12)
        assert cut == whole[: place + 1]
    assert len(found[0]) <= 4
    assert len(found[1]) <= 6
    greedy = sample_responses(model, queries, 12, None, 1.0, [], 0, 4)
    stops = (greedy[0][2], greedy[2][4])
    expected = [before_end(line, stops) + [t for t in line if t in stops][:1] for line in greedy]
    assert sample_responses(model, queries, 12, None, 1.0, stops, 0, 4) == expected
    assert generate_responses(model, queries, 12, None, stops, 0, 4) == expected
    assert rag_token_responses(model, [[query] for query in queries], [[1.0]] * 3, 12, stops, 0, 4) == expected


def test_texts_hold_no_end_token_and_know_whether_they_ended(tiny_model: Callable[[int], Any]) -> None:
    model, tokenizer = tiny_model(4)
    (free,) = generate_texts(model, tokenizer, ["the red kettle"], 8, 50)
    ids = tokenizer("the red kettle", add_special_tokens=False)["input_ids"]
    (written,) = sample_responses(model.eval(), [ids], 8, None, 1.0, [], tokenizer.pad_token_id, 1)
    stop = written[-1]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, stop]
    (cut,) = generate_texts(model, tokenizer, ["the red kettle"], 8, 50)
    assert free.truncated
    assert free.text
    assert not cut.truncated
    assert cut.text == tokenizer.decode(before_end(written, [stop])).strip()


def test_before_end_and_ended() -> None:
    assert before_end([5, 7, 9, 7], (9, 3)) == [5, 7]
    assert before_end([5, 7], (9, 3)) == [5, 7]
    assert ended([5, 9], {9, 3})
    assert not ended([5], {9, 3})


@pytest.mark.parametrize("trim", [False, True])
def test_a_folder_keeps_its_end_tokens(
    make_chat_tokenizer: Callable[..., Any], make_llama: Any, tmp_path: Path, trim: bool
) -> None:
    tokenizer = make_chat_tokenizer()
    end = tokenizer.convert_tokens_to_ids("<end>")
    model = make_llama(tokenizer)
    model.generation_config = GenerationConfig(eos_token_id=[tokenizer.eos_token_id, end], repetition_penalty=1.3)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = ModelConfig(source=str(tmp_path), max_prompt_tokens=60, trim_vocabulary=trim)
    loaded, own = load_language_model(config, ["the red kettle"])
    expected = [own.eos_token_id, own.convert_tokens_to_ids("<end>")]
    assert list(end_token_ids(loaded, own)) == expected
    assert loaded.generation_config.repetition_penalty in (None, 1.0)
    loaded.save_pretrained(tmp_path / "again")
    assert GenerationConfig.from_pretrained(tmp_path / "again").eos_token_id == expected
    assert own.pad_token_id not in expected
