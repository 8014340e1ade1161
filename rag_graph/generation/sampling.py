"""Sampling responses: rows sorted by length, finished rows dropped, no logits kept, one given random number per episode and position.

Because the random numbers are given, a sample does not depend on how episodes are batched, on how many processes share them, or on
what ran before: that is what makes a resumed run, and a run on two processes, equal to the plain one.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rag_graph.generation.tokens import pad_left

COMPACT_SHARE = 8
"""Finished rows are dropped from the cache once they are one in this many; a copy of the cache each step would cost more."""


@torch.no_grad()
def sample_responses(
    model: Any,
    queries: Sequence[Sequence[int]],
    max_new_tokens: int,
    uniforms: Tensor | None,
    temperature: float,
    stop_id: int | None,
    pad_id: int,
    batch_size: int,
) -> list[list[int]]:
    """Continue each query until `stop_id` (kept) or `max_new_tokens`. The pad token is never written.

    Args:
        model: a causal language model, in eval mode.
        queries: token ids, not empty.
        uniforms: [len(queries), max_new_tokens] in [0, 1): position t of row i takes the first token whose cumulative probability
            exceeds uniforms[i, t]. None decodes greedily.
    """
    order = sorted(range(len(queries)), key=lambda row: len(queries[row]))
    responses: list[list[int]] = [[] for _ in queries]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        noise = None if uniforms is None else uniforms[rows].to(model.device)
        chunk = _continue([queries[row] for row in rows], model, max_new_tokens, noise, temperature, stop_id, pad_id)
        for row, response in zip(rows, chunk, strict=True):
            responses[row] = response
    return responses


def _continue(
    queries: list[Sequence[int]],
    model: Any,
    max_new_tokens: int,
    noise: Tensor | None,
    temperature: float,
    stop_id: int | None,
    pad_id: int,
) -> list[list[int]]:
    step_input, mask = pad_left(queries, 0, model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    written = torch.full((len(queries), max_new_tokens), pad_id, device=step_input.device)
    rows = torch.arange(len(queries), device=step_input.device)  # which query each row of the cache belongs to
    going = torch.ones(len(queries), dtype=torch.bool, device=step_input.device)
    cache = DynamicCache(config=model.config)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # the signature under an adapter
    known = inspect.signature(base.forward).parameters
    for t in range(max_new_tokens):
        optional = {"position_ids": positions, "logits_to_keep": 1}
        output = model(
            input_ids=step_input, attention_mask=mask, past_key_values=cache, use_cache=True, **{k: v for k, v in optional.items() if k in known}
        )  # fmt: skip
        logits = output.logits[:, -1].float()
        logits[:, pad_id] = -torch.inf
        if noise is None:
            token = logits.argmax(-1)
        else:
            cumulative = (logits / temperature).softmax(-1).cumsum(-1, dtype=torch.float64)
            threshold = noise[rows, t, None].double() * cumulative[:, -1:]
            token = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=logits.shape[1] - 1)
        written[rows[going], t] = token[going]
        if stop_id is not None:
            going = going & (token != stop_id)
        alive = int(going.sum())
        if alive == 0:
            break
        if (len(going) - alive) * COMPACT_SHARE >= len(going):
            cache.batch_select_indices(going.nonzero().squeeze(-1))
            rows, mask, positions, token = rows[going], mask[going], positions[going], token[going]
            going = going[going]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        positions = positions[:, -1:] + 1
        step_input = token[:, None]
    return [line[: line.index(pad_id)] if pad_id in line else line for line in written.tolist()]
