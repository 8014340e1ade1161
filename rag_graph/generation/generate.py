"""Batched text generation: prompts in, texts out, in the order they came."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rag_graph.config import ModelConfig
from rag_graph.generation.end_tokens import before_end, end_token_ids
from rag_graph.generation.half_weights import cast_once
from rag_graph.generation.marginal import rag_sequence_responses, rag_token_responses
from rag_graph.generation.sampling import generate_responses, sample_responses
from rag_graph.generation.steps import decodes_step_by_step
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
    stops, pad = end_token_ids(model, tokenizer), tokenizer.pad_token_id
    with answering(model, bf16):
        if decodes_step_by_step(model):
            responses = sample_responses(model, queries, max_new_tokens, None, 1.0, stops, pad, batch_size)
        else:
            responses = generate_responses(model, queries, max_new_tokens, None, stops, pad, batch_size)
    return [decode_response(tokenizer, ids, stops) for ids in responses]


@contextmanager
def answering(model: PreTrainedModel, bf16: bool) -> Iterator[None]:
    """In evaluation mode, and under autocast to bfloat16 where asked."""
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16), cast_once(model):
            yield
    finally:
        model.train(was_training)


@dataclass(frozen=True, slots=True)
class Writer:
    """A language model as the pipeline uses it, greedy, with the lengths of a run's config."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    config: ModelConfig
    batch_size: int
    bf16: bool = False

    def __call__(self, prompts: Sequence[str]) -> list[Response]:
        """Prompts -> responses, in order."""
        return generate_texts(
            self.model,
            self.tokenizer,
            prompts,
            self.config.max_new_tokens,
            self.config.max_prompt_tokens,
            self.batch_size,
            self.bf16,
        )

    def fuse(
        self,
        prompts: Sequence[Sequence[str]],
        weights: Sequence[Sequence[float]],
        fusion: Literal["rag_sequence", "rag_token"],
    ) -> list[Response]:
        """One answer per example from several prompts, marginalised over them (see `marginal.py`).

        Args:
            prompts: for each example one per passage.
            weights: for each example p(z|x), adding up to 1.
        """
        if not prompts:
            return []
        tokenizer, config = self.tokenizer, self.config
        every = [prompt for row in prompts for prompt in row]
        flat = iter(encode_prompts(tokenizer, every, config.max_prompt_tokens))
        queries = [[next(flat) for _ in row] for row in prompts]
        respond = rag_sequence_responses if fusion == "rag_sequence" else rag_token_responses
        stops, pad = end_token_ids(self.model, tokenizer), tokenizer.pad_token_id
        with answering(self.model, self.bf16):
            responses = respond(self.model, queries, weights, config.max_new_tokens, stops, pad, self.batch_size)
        return [decode_response(tokenizer, ids, stops) for ids in responses]


def decode_response(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stop_ids: Collection[int]) -> Response:
    """Text up to the first end token."""
    kept = before_end(ids, stop_ids)
    return Response(tokenizer.decode(kept, skip_special_tokens=True).strip(), len(kept) == len(ids))
