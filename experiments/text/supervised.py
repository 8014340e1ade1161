"""Supervised training of the top layers on references, with the activations of the frozen layers kept, as PPO keeps them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rag_graph.data.load import RunData
from rag_graph.generation.sft import Pair
from rag_graph.generation.trunk import Trunk, trained_part
from rag_graph.runs.demonstrations import demonstration_batches
from rag_graph.runs.workbench import Workbench

BATCH = 32


def train_supervised(bench: Workbench, data: RunData, sequences: int) -> None:
    """AdamW at the rate of the warm-up, which falls linearly to 0; gradients clipped to norm 1.

    Args:
        data: its demonstrations are learned.
        sequences: demonstrations that are passed forward and backward, repetitions counted.
    """
    config = bench.config
    assert config.model.train_layers is not None
    batches = demonstration_batches(
        bench.graph,
        data,
        bench.pools["train"],
        bench.tokenizer,
        0.0,
        BATCH,
        config.model.max_prompt_tokens,
        config.seed,
    )
    model = trained_part(bench.model, None, config.model.train_layers)
    trunk = Trunk.of(model, config.model.train_layers)
    assert trunk is not None
    known: dict[tuple[int, ...], Tensor] = {}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.sft.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    steps = math.ceil(sequences / min(BATCH, len(data.groups)))
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = config.sft.learning_rate * min(1.0, (step + 1) / 5) * (1 - step / steps)
        pairs = [group[0] for group in batches(step)]
        loss = _loss(model, trunk, pairs, known, bench.tokenizer.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _loss(model: Any, trunk: Trunk, pairs: list[Pair], known: dict[tuple[int, ...], Tensor], pad: int) -> Tensor:
    """Mean cross-entropy of the answer tokens, the end token among them."""
    backbone = getattr(model, model.base_model_prefix)
    rows = [prompt + answer for prompt, answer in pairs]
    for row in rows:
        if tuple(row) not in known:
            with torch.no_grad(), trunk.alone(), trunk.heard() as heard:
                backbone(input_ids=torch.tensor([row]), use_cache=False)
            known[tuple(row)] = heard[-1][0]
    length = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    activations = torch.stack([F.pad(known[tuple(row)], (0, 0, 0, length - len(row))) for row in rows])
    with trunk.given(activations):  # padding is on the right: no answer sees it
        hidden = backbone(input_ids=ids, use_cache=False)[0]
    asked = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        asked[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
    logits = model.get_output_embeddings()(hidden[asked]).float()
    return F.cross_entropy(logits, ids.roll(-1, 1)[asked])
