"""Which tokens end an answer. Some models have several: Gemma and Phi-3 end a turn with another token than a document."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from rag_graph.generation.adapters import base_model


def end_token_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that ends an answer: the tokenizer's end token first, then what `model.generation_config` and `model.config` declare.

    Left out: ids beyond the embedding, and a number that nobody declared, because it is only the default of the config's class (2 for
    Llama) and is an ordinary token of this tokenizer.
    """
    base = base_model(model)
    config = base.config.get_text_config()
    marked = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    default = getattr(type(config), "eos_token_id", None)
    declared = [tokenizer.eos_token_id]
    for holder in (getattr(base, "generation_config", None), config):
        value = getattr(holder, "eos_token_id", None)
        if isinstance(value, list | tuple):
            declared += value
        elif value != default or value in marked:
            declared.append(value)
    size = base.get_input_embeddings().weight.shape[0] or len(
        tokenizer
    )  # 0 where an engine holds the weights elsewhere
    return tuple(dict.fromkeys(int(token) for token in declared if token is not None and 0 <= token < size))


def declare_end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> None:
    """Write the end tokens into the model's configs, so that a saved model keeps them, and drop its other defaults for sampling: a
    repetition penalty or a min_p would sample from another policy than the one that is scored."""
    base = base_model(model)
    value = ids[0] if len(ids) == 1 else list(ids)
    base.config.pad_token_id, base.config.eos_token_id = tokenizer.pad_token_id, value
    base.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_token_id, eos_token_id=value)


def before_end(ids: Sequence[int], stop_ids: Collection[int]) -> list[int]:
    """The ids of a response up to its first end token."""
    return list(ids[: next((place for place, token in enumerate(ids) if token in stop_ids), len(ids))])


def ended(ids: Sequence[int], stop_ids: Collection[int]) -> bool:
    """Whether a response holds an end token."""
    return any(token in stop_ids for token in ids)
