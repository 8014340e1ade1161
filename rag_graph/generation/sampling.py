"""Sampling responses: rows sorted by length, finished rows dropped, no logits kept, one given random number per episode and position.

Because the random numbers are given, a sample does not depend on how episodes are batched, on how many processes share them, or on
what ran before: that is what makes a resumed run, and a run on two processes, equal to the plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from rag_graph.generation.end_tokens import before_end
from rag_graph.generation.kv_cache import new_cache
from rag_graph.generation.steps import optional_inputs, step_logits
from rag_graph.generation.tokens import pad_left
from rag_graph.generation.trunk_memory import TrunkMemory

COMPACT_SHARE = 8
"""Finished rows are dropped from the cache once they are one in this many; a copy of the cache each step would cost more."""


@torch.no_grad()
def sample_responses(
    model: Any,
    queries: Sequence[Sequence[int]],
    max_new_tokens: int,
    uniforms: Tensor | None,
    temperature: float,
    stop_ids: Sequence[int],
    pad_id: int,
    batch_size: int,
    memory: TrunkMemory | None = None,
) -> list[list[int]]:
    """Continue each query until one of `stop_ids` (kept) or `max_new_tokens`. The pad token is never written.

    A query that stands in a batch several times is read once.

    Args:
        model: a causal language model, in eval mode.
        queries: token ids, not empty.
        uniforms: [len(queries), max_new_tokens] in [0, 1): position t of row i takes the first token whose cumulative probability
            exceeds uniforms[i, t]. None decodes greedily.
        memory: keeps what the model's trunk gives for each sequence, without the last token's of answers of `max_new_tokens`, and knows what it gave
            for some queries.
    """
    order = sorted(range(len(queries)), key=lambda row: len(queries[row]))
    responses: list[list[int]] = [[] for _ in queries]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        noise = None if uniforms is None else uniforms[rows].to(model.device)
        chunk = _continue(
            [queries[row] for row in rows], model, max_new_tokens, noise, temperature, stop_ids, pad_id, memory
        )
        for row, response in zip(rows, chunk, strict=True):
            responses[row] = response
    return responses


def _continue(
    queries: list[Sequence[int]],
    model: Any,
    max_new_tokens: int,
    noise: Tensor | None,
    temperature: float,
    stop_ids: Sequence[int],
    pad_id: int,
    memory: TrunkMemory | None,
) -> list[list[int]]:
    distinct = list(dict.fromkeys(map(tuple, queries)))
    ids, mask = pad_left(distinct, 0, model.device)
    device, width = ids.device, ids.shape[1]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache, known = new_cache(model), optional_inputs(model)
    written = torch.full((len(queries), max_new_tokens), pad_id, device=device)
    rows = torch.arange(len(queries), device=device)  # which query each row of the cache belongs to
    going = torch.ones(len(queries), dtype=torch.bool, device=device)
    stops = torch.tensor(stop_ids, dtype=torch.long, device=device)
    lines = _Lines(len(queries), width + max_new_tokens)
    listening: AbstractContextManager[list[Tensor]] = nullcontext([]) if memory is None else memory.trunk.heard()
    with listening as heard:
        if memory is None:
            logits = step_logits(model, known, ids, mask, positions, cache)
        else:
            logits = memory.prompts.read(distinct, known, ids, mask, positions, cache)
            heard[:] = heard[-1:]  # of all queries; before it, of those that were new
        if len(distinct) < len(queries):
            place = {query: number for number, query in enumerate(distinct)}
            owner = torch.tensor([place[tuple(query)] for query in queries], device=device)
            cache.batch_select_indices(owner)
            logits, mask, positions = logits[owner], mask[owner], positions[owner]
            heard[:] = [activations[owner] for activations in heard]
        lines.take(heard, rows)
        for t in range(max_new_tokens):
            token = _drawn(logits, None if noise is None else noise[rows, t], temperature, pad_id)
            written[rows[going], t] = token[going]
            stays = going  # the trunk of a memory has yet to read the last token of what ends now
            going = going & ~torch.isin(token, stops)
            alive = int(going.sum())
            if t + 1 == max_new_tokens or (alive == 0 and memory is None):
                break
            stays = going if memory is None else stays
            if (len(stays) - int(stays.sum())) * COMPACT_SHARE >= len(stays):
                cache.batch_select_indices(stays.nonzero().squeeze(-1))
                rows, mask, positions, token = rows[stays], mask[stays], positions[stays], token[stays]
                going = going[stays]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            positions = positions[:, -1:] + 1
            with nullcontext() if memory is None or alive else memory.trunk.alone():
                logits = step_logits(model, known, token[:, None], mask, positions, cache)
            lines.take(heard, rows)
            if alive == 0:
                break
    responses = [before_end(line, [pad_id]) for line in written.tolist()]
    if memory is not None:
        for row, (query, response) in enumerate(zip(queries, responses, strict=True)):
            memory.keep([*query, *response], lines.of(row, width - len(query), len(query) + len(response)))
    return responses


def _drawn(logits: Tensor, noise: Tensor | None, temperature: float, pad_id: int) -> Tensor:
    """A token for each row of logits [n, V], by noise [n]; the likeliest where it is None."""
    logits[:, pad_id] = -torch.inf
    if noise is None:
        return logits.argmax(-1)
    cumulative = (logits / temperature).softmax(-1).cumsum(-1, dtype=torch.float64)
    threshold = noise[:, None].double() * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=logits.shape[1] - 1)


class _Lines:
    """What a trunk gave for the tokens of each row, step after step."""

    def __init__(self, rows: int, length: int) -> None:
        self._rows, self._length, self._read = rows, length, 0
        self._activations: Tensor | None = None

    def take(self, heard: list[Tensor], rows: Tensor) -> None:
        """Move what was heard in a step of these rows in here."""
        for found in heard:
            if self._activations is None:
                self._activations = found.new_zeros(self._rows, self._length, found.shape[-1])
            self._activations[rows, self._read : self._read + found.shape[1]] = found
            self._read += found.shape[1]
        heard.clear()

    def of(self, row: int, start: int, length: int) -> Tensor:
        """[length, H], or one less where the last token was not read."""
        assert self._activations is not None
        return self._activations[row, start : min(start + length, self._read)]


@torch.no_grad()
def generate_responses(
    model: Any,
    queries: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float | None,
    stop_ids: Sequence[int],
    pad_id: int,
    batch_size: int,
) -> list[list[int]]:
    """As `sample_responses`, by transformers' `generate` and torch's global random numbers; a pad token ends an answer. None as
    temperature decodes greedily."""
    sampling = {} if temperature is None else {"temperature": temperature, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=temperature is not None, eos_token_id=list(stop_ids) or None, pad_token_id=pad_id, **sampling
    )  # fmt: skip
    ids, mask = pad_left(queries, 0, model.device)
    responses = []
    for start in range(0, len(ids), batch_size):
        part = slice(start, start + batch_size)
        output = model.generate(input_ids=ids[part], attention_mask=mask[part], generation_config=config)
        for line in output[:, ids.shape[1] :].tolist():
            stopped = line[: len(before_end(line, stop_ids)) + 1]
            responses.append(before_end(stopped, [pad_id]))
    return responses
