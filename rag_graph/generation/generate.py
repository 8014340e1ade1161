"""Batched text generation: prompts in, texts out, in the order they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rag_graph.config import ModelConfig
from rag_graph.generation.sampling import decodes_step_by_step, generate_responses, sample_responses
from rag_graph.generation.tokens import encode_prompts


@dataclass(frozen=True, slots=True)
class Response:
    """What the model wrote; `truncated` when it did not end by itself."""

    text: str
    truncated: bool


@torch.no_grad()
def generate_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    max_prompt_tokens: int,
    batch_size: int = 64,
    bf16: bool = False,
) -> list[Response]:
    """Continue each prompt greedily.

    Args:
        bf16: autocast to bfloat16.
    """
    if not prompts:
        return []
    queries = encode_prompts(tokenizer, prompts, max_prompt_tokens)
    was_training = model.training
    model.eval()
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
        if decodes_step_by_step(model):
            responses = sample_responses(model, queries, max_new_tokens, None, 1.0, end, pad, batch_size)
        else:
            responses = generate_responses(model, queries, max_new_tokens, None, end, pad, batch_size)
    model.train(was_training)
    return [decode_response(tokenizer, ids) for ids in responses]


def greedy_writer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig, batch_size: int, bf16: bool = False
) -> Callable[[Sequence[str]], list[Response]]:
    """Prompts -> greedy responses, with the lengths of a run's config."""
    return partial(
        generate_texts,
        model,
        tokenizer,
        max_new_tokens=config.max_new_tokens,
        max_prompt_tokens=config.max_prompt_tokens,
        batch_size=batch_size,
        bf16=bf16,
    )


def decode_response(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Response:
    """Text up to the end token."""
    ended = tokenizer.eos_token_id in ids
    kept = ids[: list(ids).index(tokenizer.eos_token_id)] if ended else ids
    return Response(tokenizer.decode(kept, skip_special_tokens=True).strip(), not ended)
