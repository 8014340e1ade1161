"""Loading the policy: made from nothing, a Hugging Face id or folder, an adapter, a GGUF file, or one inside an installed package."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from peft import LoraConfig, PeftConfig

from rag_graph.config import LoraSettings, ModelConfig
from rag_graph.generation.model_checks import check_layers, check_positions
from rag_graph.generation.pretrained import Described, LanguageModel, locate, separate_pad
from rag_graph.generation.scratch import make_model, make_tokenizer
from rag_graph.generation.vocabulary import trim_vocabulary


def load_language_model(config: ModelConfig, corpus: Iterable[str] = (), device: str = "cpu") -> LanguageModel:
    """The model and tokenizer that a config names: weights in float32, padding on the left, a pad token that ends no answer.

    An adapter is merged into its base, with a warning that says so.

    Args:
        corpus: texts of the run; trains the tokenizer of a model from scratch, decides what a trimmed vocabulary keeps.

    Raises:
        ModelError: unknown id, missing file, no network, or a model that cannot answer as the config asks; says what was tried.
    """
    if config.source == "scratch":
        tokenizer = make_tokenizer(corpus, config.scratch.vocab_size)
        return make_model(config.scratch, tokenizer).to(device), tokenizer
    described = _described(config)
    model, tokenizer = described.load()
    if config.trim_vocabulary:
        model, tokenizer = trim_vocabulary(model, tokenizer, corpus)
    separate_pad(model, tokenizer)
    return model.to(device), tokenizer


def check_source(config: ModelConfig) -> None:
    """What can be said of a model in a folder without reading its weights; other sources are looked at when they are loaded.

    Raises:
        ModelError: as `load_language_model`.
    """
    if config.source == "scratch":
        return
    path, gguf = locate(config.source)
    if gguf is None and Path(path).is_dir():
        _described(config)


def _described(config: ModelConfig) -> Described:
    found = Described.of(config.source, config.revision, config.trust_remote_code, f"model.source '{config.source}'")
    settings = ("model.max_prompt_tokens", "model.max_new_tokens")
    check_positions(found.config, config.max_prompt_tokens, config.max_new_tokens, settings)
    check_layers(found.config, config.train_layers, "model.train_layers")
    return found


def lora_config(settings: LoraSettings) -> PeftConfig:
    """peft's LoraConfig for a causal language model; `with_adapter` decides which layers it adapts."""
    return LoraConfig(task_type="CAUSAL_LM", r=settings.r, lora_alpha=settings.alpha, lora_dropout=0.0)
