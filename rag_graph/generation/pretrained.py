"""Reading a pretrained model: an id or folder of Hugging Face, an adapter, a GGUF file. Its config first, its weights after the checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rag_graph.errors import ModelError
from rag_graph.generation.adapters import adapter_base, merge_adapter
from rag_graph.generation.end_tokens import declare_end_tokens, end_token_ids
from rag_graph.generation.gguf import converted, package_gguf
from rag_graph.generation.model_checks import check_kind, check_language_model, check_tokenizer

SOURCES = "Give a Hugging Face id (with a network), a folder, a .gguf file, 'package:NAME' or 'scratch'."
LanguageModel = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def load_pretrained(source: str) -> LanguageModel:
    """The model and tokenizer of an id, a folder or a GGUF file, as `load_language_model` prepares them."""
    model, tokenizer = Described.of(source, None, False, f"model '{source}'").load()
    separate_pad(model, tokenizer)
    return model, tokenizer


@dataclass(frozen=True, slots=True)
class Described:
    """A model whose config and tokenizer were read and checked, and whose weights were not.

    Attributes:
        path: folder or id.
        base: what `path` is an adapter of, else None.
        options: how to read what holds the weights.
    """

    name: str
    path: str
    revision: str | None
    base: str | None
    options: Mapping[str, Any]
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def of(cls, source: str, revision: str | None, trusted: bool, name: str) -> Described:
        found, gguf = locate(source)
        path = found if gguf is None else str(converted(gguf))
        with reading(name):
            base = adapter_base(path, revision, name)
        with reading(name if base is None else f"{name} is an adapter of '{base}', which"):
            options = {"trust_remote_code": trusted, "revision": revision if base is None else None}
            config = AutoConfig.from_pretrained(base or path, **options)
        check_kind(config, name)
        own = base is None or not Path(path).is_dir() or (Path(path) / "tokenizer_config.json").is_file()
        with reading(
            f"{name}: its tokenizer", "Save the tokenizer beside the model: tokenizer.save_pretrained(folder)."
        ):
            tokenizer = AutoTokenizer.from_pretrained(
                path if own else base,
                padding_side="left",
                revision=revision if own else None,
                trust_remote_code=trusted,
            )
        if base is None:  # an adapter may bring tokens
            check_tokenizer(tokenizer, config.get_text_config().vocab_size, name)
        return cls(name, path, revision, base, options, config, tokenizer)

    def load(self) -> LanguageModel:
        with reading(self.name):
            model, about = AutoModelForCausalLM.from_pretrained(
                self.base or self.path, dtype=torch.float32, output_loading_info=True, **self.options
            )
        missing = sorted(set(about["missing_keys"]) & {name for name, _ in model.named_parameters()})
        if missing:
            raise ModelError(
                f"{self.name}: the weights {', '.join(missing[:3])} are not there and would be random. Name a causal language model that was "
                "saved whole."
            )
        if self.base is not None:
            model = merge_adapter(model, self.path, self.revision, self.tokenizer, self.name)
        check_language_model(model, self.tokenizer, self.name)
        return model, self.tokenizer


@contextmanager
def reading(name: str, remedy: str = SOURCES) -> Iterator[None]:
    """What transformers and peft raise, as a ModelError."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError, RuntimeError) as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{name} comes with Python code of its own, which would run here. Read it, then set model.trust_remote_code: true (in Python: "
                "load model and tokenizer with trust_remote_code=True and give both)."
            ) from None
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{name} cannot be loaded: {first.rstrip('. ')}. {remedy}") from None


def locate(source: str) -> tuple[str, Path | None]:
    """(id or folder, GGUF file or None)."""
    if source.startswith("package:"):
        return source, package_gguf(source.removeprefix("package:"))
    if source.endswith(".gguf"):
        if not Path(source).is_file():
            raise ModelError(f"model.source: no such file: {source}")
        return source, Path(source)
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise ModelError(f"model.source: no such folder: {source}")
    return str(Path(source).expanduser()) if Path(source).expanduser().is_dir() else source, None


def separate_pad(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """A pad token that ends no answer (Qwen pads with its second end token), and the end tokens written into the configs."""
    ends = end_token_ids(model, tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        taken = {*ends, tokenizer.bos_token_id}
        spare = next(
            (token for token in tokenizer.all_special_tokens if tokenizer.convert_tokens_to_ids(token) not in taken),
            None,
        )
        if spare is not None:
            tokenizer.pad_token = spare
        else:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
            if len(tokenizer) > model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    declare_end_tokens(model, tokenizer, ends)
