"""Draws answers from a causal language model. It needs torch and transformers alone, so that it can run on a machine without this package.

The prompt is computed once for all its answers. The random numbers of a prompt are seeded by its own number: a pool does not depend on how prompts are
batched, nor on where drawing was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

EMBEDDING = 32
"""Numbers of an answer's embedding."""


@torch.inference_mode()
def draw(
    model: Any,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    answers: int,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    batch_size: int,
) -> Iterator[list[dict[str, Any]]]:
    """Draw answers at temperature 1.

    Args:
        model: a causal language model, in eval mode, whose last hidden states come with `output_hidden_states`.
        prompts: token ids, not empty.
        numbers: the number of each prompt in its pool, which seeds its random numbers.
        stop_ids: tokens that end an answer.

    Yields:
        For each prompt, in order, its answers: `ids` without the token that ended it; `logprob`, in nats, the sum over the ids and that
        token; `ended`; `embedding`, the mean of the last hidden states of the ids, projected (see `projection`). An answer without ids
        has the hidden state before it.
    """
    device = model.device
    stops = torch.tensor(list(stop_ids), device=device)
    project = projection(model.config.hidden_size).to(device)
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        uniforms = torch.stack([_uniforms(n, answers, max_new_tokens) for n in numbers[start : start + batch_size]])
        yield from _draw(model, batch, uniforms.to(device), stops, project)


def _uniforms(number: int, answers: int, length: int) -> Tensor:
    """float64 [answers, length]."""
    generator = torch.Generator().manual_seed(number)
    return torch.rand(answers, length, generator=generator, dtype=torch.float64)


def _draw(
    model: Any, prompts: Sequence[Sequence[int]], uniforms: Tensor, stops: Tensor, project: Tensor
) -> list[list[dict[str, Any]]]:
    """uniforms: [prompts, answers, length]."""
    count, answers, length = uniforms.shape
    uniforms = uniforms.flatten(0, 1)
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits, hidden = _step(model, ids, mask, positions, cache)
    cache.batch_repeat_interleave(answers)
    logits, hidden, mask = (part.repeat_interleave(answers, 0) for part in (logits, hidden, mask))
    position = positions[:, -1:].repeat_interleave(answers, 0)
    rows = count * answers
    written = torch.full((rows, length), -1, device=model.device)
    logprob = torch.zeros(rows, dtype=torch.float64, device=model.device)
    going = torch.ones(rows, dtype=torch.bool, device=model.device)
    first, total = hidden, torch.zeros_like(hidden)
    for t in range(length):
        logs = logits.log_softmax(-1)
        cumulative = logs.double().exp().cumsum(-1)
        threshold = uniforms[:, t, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=logits.shape[1] - 1)
        logprob += torch.where(going, logs.gather(-1, token[:, None]).squeeze(-1).double(), 0.0)
        going = going & ~torch.isin(token, stops)
        written[:, t] = torch.where(going, token, -1)
        if not bool(going.any()):
            break
        mask = torch.cat([mask, mask.new_ones(rows, 1)], 1)
        position = position + 1
        logits, hidden = _step(model, token[:, None], mask, position, cache)
        total += torch.where(going[:, None], hidden, 0.0)
    tokens = (written >= 0).sum(1)
    mean = torch.where(tokens[:, None] > 0, total / tokens[:, None].clamp(min=1), first)
    columns = zip(
        written.tolist(), tokens.tolist(), logprob.tolist(), going.tolist(), (mean @ project).tolist(), strict=True
    )
    found = [
        {
            "ids": line[:n],
            "logprob": round(value, 5),
            "ended": not open_,
            "embedding": [round(x, 3) for x in embedding],
        }
        for line, n, value, open_, embedding in columns
    ]
    return [found[row : row + answers] for row in range(0, rows, answers)]


def _step(model: Any, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> tuple[Tensor, Tensor]:
    """Logits and last hidden state of the last position, float32 [rows, V] and [rows, H]."""
    inner = model.get_decoder()
    output = inner(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
    last = output.last_hidden_state[:, -1]
    return model.get_output_embeddings()(last).float(), last.float()


def projection(size: int) -> Tensor:
    """[size, EMBEDDING] a fixed random projection that keeps lengths in the mean (Johnson & Lindenstrauss 1984)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, EMBEDDING, generator=generator) / EMBEDDING**0.5


def draw_file(
    model: Any,
    asked: Path,
    out: Path,
    answers: int,
    batch_size: int,
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Draw for every prompt of a file that `out` lacks, and append one line per prompt.

    Args:
        asked: a first line {max_new_tokens, stop_ids}, then lines {number, id, ids}.
        out: lines {id, answers}. A last line that was not finished is dropped.
        advance: told how many prompts are done.
    """
    settings, *prompts = map(json.loads, asked.read_text().splitlines())
    done = drawn(out)
    todo = [prompt for prompt in prompts if prompt["id"] not in done]
    advance(len(done))
    found = draw(
        model, [p["ids"] for p in todo], [p["number"] for p in todo], answers, settings["max_new_tokens"],
        settings["stop_ids"], batch_size,
    )  # fmt: skip
    with out.open("a") as file:
        for place, (prompt, lines_) in enumerate(zip(todo, found, strict=True), len(done) + 1):
            file.write(json.dumps({"id": prompt["id"], "answers": lines_}) + "\n")
            file.flush()
            advance(place)


def drawn(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Prompt -> its answers, as far as they are drawn; cuts off a line that was not finished."""
    if not out.is_file():
        return {}
    text = out.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        out.write_text(whole)
    return {row["id"]: row["answers"] for row in map(json.loads, whole.splitlines())}
