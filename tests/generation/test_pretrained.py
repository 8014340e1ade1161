"""Where a source lies, and a pad token that ends no answer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.config import ModelConfig
from rag_graph.errors import ModelError
from rag_graph.generation.end_tokens import declare_end_tokens, end_token_ids
from rag_graph.generation.language_model import load_language_model
from rag_graph.generation.pretrained import load_pretrained, locate, separate_pad


def test_a_pad_token_that_ends_answers_is_set_apart(
    make_chat_tokenizer: Callable[..., Any], make_llama: Any, tmp_path: Path
) -> None:
    """As Qwen has it: documents end with the token that also pads."""
    tokenizer = make_chat_tokenizer()
    tokenizer.eos_token, tokenizer.pad_token = "<end>", "<eos>"
    model = make_llama(tokenizer)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    declare_end_tokens(model, tokenizer, ends)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, own = load_language_model(ModelConfig(source=str(tmp_path), max_prompt_tokens=60))
    assert list(end_token_ids(loaded, own)) == ends
    assert own.pad_token_id not in ends


def test_where_a_source_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model.gguf").touch()
    assert locate("someone/something") == ("someone/something", None)
    assert locate("~/model") == (str(tmp_path / "model"), None)
    assert locate(str(tmp_path / "model.gguf")) == (str(tmp_path / "model.gguf"), tmp_path / "model.gguf")
    with pytest.raises(ModelError, match="no such folder: ~/gone"):
        locate("~/gone")


def test_a_folder_without_its_tokenizer(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(4)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its tokenizer.* cannot be loaded.*Save the tokenizer beside the model"):
        load_pretrained(str(tmp_path))
    tokenizer.save_pretrained(tmp_path)
    loaded, own = load_pretrained(str(tmp_path))
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in loaded.state_dict().items())
    assert own.padding_side == "left"


def test_a_tokenizer_without_a_spare_token_gets_one(tiny_model: Callable[[int], Any]) -> None:
    model, tokenizer = tiny_model(4)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_special_tokens({"pad_token": tokenizer.eos_token})
    separate_pad(model, tokenizer)
    assert tokenizer.pad_token_id == 320
    assert model.get_input_embeddings().num_embeddings == 321
    assert model.config.pad_token_id == 320
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
