"""Supervised warm-up on demonstrations: cross-entropy on the answers.

Prompts that share their beginning (the tasks on one passage) are packed: the shared tokens are computed once, each prompt's
rest and its answer follow as a branch with restarted positions, and a block mask keeps branches from seeing each other. The
loss equals that of the unpacked prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from rag_graph.generation.adapters import base_model

Pair = tuple[list[int], list[int]]
"""Token ids of a prompt and of its answer; the answer ends with the end token."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """ids, position_ids, targets: int64 [B, T]; mask: float [B, 1, T, T], 0 or -inf; weights: [B, T], 0 where no loss."""

    ids: Tensor
    position_ids: Tensor
    targets: Tensor
    mask: Tensor
    weights: Tensor


def pack(groups: Sequence[Sequence[Pair]], pad_id: int) -> PackedBatch:
    """One row per group; every answer token weighs 1."""
    rows = []
    for group in groups:
        prefix = _shared_prefix([prompt for prompt, _ in group])
        ids, positions = list(group[0][0][:prefix]), list(range(prefix))
        segment, weights, targets = [0] * prefix, [0.0] * prefix, [pad_id] * prefix
        for branch, (prompt, answer) in enumerate(group, 1):
            rest = prompt[prefix:] + answer
            ids += rest
            positions += range(prefix, prefix + len(rest))
            segment += [branch] * len(rest)
            targets += [*rest[1:], pad_id]
            asked = len(prompt) - prefix
            weights += [0.0] * (asked - 1) + [1.0] * len(answer) + [0.0]
        rows.append((ids, positions, targets, segment, weights))
    length = max(len(row[0]) for row in rows)

    def stack(column: int, filler: float, dtype: torch.dtype) -> Tensor:
        return torch.tensor([list(row[column]) + [filler] * (length - len(row[0])) for row in rows], dtype=dtype)

    segments = stack(3, -1, torch.long)
    sees = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    sees = sees & torch.ones(length, length, dtype=torch.bool).tril() | torch.eye(length, dtype=torch.bool)
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[:, None]  # [B, 1, T, T]
    return PackedBatch(
        stack(0, pad_id, torch.long),
        stack(1, 0, torch.long),
        stack(2, pad_id, torch.long),
        mask,
        stack(4, 0.0, torch.float32),
    )


def _shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Length of the common beginning; at least one token of every prompt is left to its branch."""
    shortest = min(map(len, prompts)) - 1
    for position in range(shortest):
        if len({prompt[position] for prompt in prompts}) > 1:
            return position
    return shortest


def packed_loss(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Mean cross-entropy of the answer tokens; the head runs on answer positions only."""
    chosen = batch.weights > 0
    plain = base_model(model)
    backbone = getattr(plain, plain.base_model_prefix)
    hidden = backbone(input_ids=batch.ids, position_ids=batch.position_ids, attention_mask=batch.mask, use_cache=False)[
        0
    ]
    logits = plain.get_output_embeddings()(hidden[chosen]).float()  # [answer tokens, V]
    losses = F.cross_entropy(logits, batch.targets[chosen], reduction="none")
    weights = batch.weights[chosen]
    return (losses * weights).sum() / weights.sum()


def train_sft(
    model: PreTrainedModel,
    next_groups: Callable[[int], Sequence[Sequence[Pair]]],
    steps: int,
    learning_rate: float,
    warmup_steps: int,
    pad_id: int,
    bf16: bool = False,
    on_step: Callable[[int, float], object] | None = None,
) -> None:
    """AdamW with linear warm-up and cosine decay to 5%; gradients clipped to norm 1.

    Args:
        next_groups: step -> the groups of that step's batch.
        on_step: called with the step (from 1) and its loss.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    model.train()
    for step in range(steps):
        rate = min(1.0, (step + 1) / max(1, warmup_steps)) * max(0.05, 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        batch = pack(next_groups(step), pad_id)
        batch = PackedBatch(*(getattr(batch, name).to(model.device) for name in PackedBatch.__slots__))
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = packed_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if on_step:
            on_step(step + 1, loss.item())
