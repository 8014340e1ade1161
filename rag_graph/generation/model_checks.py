"""What a language model and its tokenizer must be to answer and to be trained, looked at before anything long starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from rag_graph.errors import ModelError
from rag_graph.generation.adapters import base_model

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Names of the number of positions; `attribute_map` of a config translates the first for most families (GPT-2, GPT-J, CTRL)."""
_STRETCHED = ("linear", "dynamic", "yarn")
"""Rotary scalings that read more positions than the config's number by their factor."""


def check_language_model(model: Any, tokenizer: PreTrainedTokenizerBase, name: str = "model") -> None:
    """
    Raises:
        ModelError: no causal language model, no end token, or a tokenizer with more tokens than the model; says how to mend it.
    """
    base = base_model(model)
    check_kind(base.config, name, type(base).__name__)
    shipped = type(base).__module__.startswith("transformers.")
    if base.get_output_embeddings() is None or (shipped and not base.can_generate()):
        raise ModelError(
            f"{name}: {type(base).__name__} has no language-model head, so it cannot write. Load a causal language model."
        )
    size = base.get_input_embeddings().weight.shape[0]
    check_tokenizer(tokenizer, size or len(tokenizer), name)  # 0 where an engine holds the weights elsewhere


def check_kind(config: Any, name: str, kind: str | None = None) -> None:
    """Raises ModelError for what a config says is no causal language model: an encoder-decoder, a classifier, a BERT that reads both ways."""
    kind = kind or (config.architectures or [config.model_type])[0]
    if config.is_encoder_decoder:
        raise ModelError(
            f"{name}: {kind} is an encoder-decoder model. Prompt and answer are one sequence here: use a causal model, such as GPT-2, Llama or Qwen."
        )
    if kind.endswith(("Classification", "QuestionAnswering", "MaskedLM")):
        raise ModelError(
            f"{name}: {kind} has no language-model head, so it cannot write. Load a causal language model."
        )
    if getattr(config, "is_decoder", None) is False and "bert" in config.model_type:
        raise ModelError(
            f"{name}: {kind} reads both ways. Set is_decoder: true in its config if it was trained as a decoder, or use a causal model."
        )


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, num_embeddings: int, name: str = "model") -> None:
    """
    Raises:
        ModelError: no end token, or ids beyond the embedding.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"{name}: the tokenizer has no end token, so no answer could end. Set tokenizer.eos_token, or 'eos_token' in its tokenizer_config.json."
        )
    largest = max(tokenizer.get_vocab().values())
    if largest >= num_embeddings:
        raise ModelError(
            f"{name}: the tokenizer is larger than the model: its last token is {largest}, and the model has {num_embeddings} embeddings. "
            "Use the model's own tokenizer, or call model.resize_token_embeddings(len(tokenizer)) after adding tokens."
        )


def check_pad_token(tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int] = ()) -> None:
    """Raises ModelError where the pad token is missing or is also an end token; end_ids: those that the model declares."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in (tokenizer.eos_token_id, *end_ids):
        raise ModelError(
            "the tokenizer's pad token must exist and differ from its end token, or the end of every answer would be masked. "
            "Set one: tokenizer.pad_token = an unused token, or add_special_tokens({'pad_token': '<pad>'}) and resize the model."
        )


def num_positions(config: Any) -> int | None:
    """How many tokens a model of this config can read; None where there is no limit (ALiBi, state-space models)."""
    text = config.get_text_config()
    named = (getattr(text, name, None) for name in _POSITIONS)
    positions = next((value for value in named if isinstance(value, int) and value > 0), None)
    rope = getattr(text, "rope_parameters", None) or {}
    if positions is None or rope.get("rope_type") not in _STRETCHED:
        return positions
    original = rope.get("original_max_position_embeddings") or positions
    return max(positions, int(original * rope.get("factor", 1.0)))


def check_positions(config: Any, prompt: int, answer: int, names: tuple[str, str]) -> None:
    """
    Args:
        prompt, answer: the most tokens that each may have.
        names: what the settings are called that say so.

    Raises:
        ModelError: together they are more than the model has positions.
    """
    positions = num_positions(config)
    if positions is None or prompt + answer <= positions:
        return
    room = positions - answer
    mend = f"Set {names[0]} to {room} or less." if room > 0 else f"Lower {names[1]}."
    raise ModelError(
        f"{names[0]} {prompt} + {names[1]} {answer} is {prompt + answer}, and the model has {positions} positions. {mend}"
    )


def check_layers(config: Any, train_layers: int | None, name: str) -> None:
    """Raises ModelError where more layers are to be trained than a model of this config has; `name` is what the setting is called."""
    number = getattr(config.get_text_config(), "num_hidden_layers", None)
    if train_layers is not None and number is not None and not 1 <= train_layers <= number:
        raise ModelError(f"{name} is {train_layers}, and the model has {number} layers: 1 to {number} is expected.")


def check_trainable(model: Any, name: str = "model") -> None:
    """Raises ModelError where nothing can be trained, as in an adapter that was loaded to be used."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        hint = (
            "Load the adapter with PeftModel.from_pretrained(..., is_trainable=True)."
            if isinstance(model, PeftModel)
            else "Set requires_grad of the weights that are to learn."
        )
        raise ModelError(f"{name}: no weight is trainable. {hint}")


def half_precision(model: Any) -> list[str]:
    """Names of trainable weights in 16 bits, in which small steps vanish."""
    halves = (torch.float16, torch.bfloat16)
    return [name for name, weight in model.named_parameters() if weight.requires_grad and weight.dtype in halves]
