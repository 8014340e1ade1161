"""The warm-up: packing changes the cost, not the loss, and training learns."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from rag_graph.generation.sft import pack, packed_loss, train_sft

GROUPS = [
    [([5, 6, 7, 20, 21], [30, 1]), ([5, 6, 7, 22], [31, 32, 1]), ([5, 6, 7, 23, 24, 25], [33, 1])],
    [([8, 9, 20], [30, 31, 1])],
    [([5, 6], [30, 1]), ([5, 6], [31, 1])],
]


def test_packed_loss_equals_the_loss_of_each_prompt_alone(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(0)
    losses = []
    for prompt, answer in (pair for group in GROUPS for pair in group):
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        losses.append(F.cross_entropy(logits, torch.tensor(answer), reduction="none"))
    expected = torch.cat(losses).mean()
    found = packed_loss(model, pack(GROUPS, tokenizer.pad_token_id))
    assert torch.allclose(found, expected, atol=1e-5)


def test_packing_saves_the_shared_tokens() -> None:
    unpacked = sum(len(prompt) + len(answer) for prompt, answer in GROUPS[0])
    assert pack(GROUPS[:1], 0).ids.shape[1] == unpacked - 2 * 3


def test_gradients_of_packed_and_unpacked_agree(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(0)
    packed_loss(model, pack(GROUPS[:1], tokenizer.pad_token_id)).backward()
    together = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    packed_loss(model, pack([[pair] for pair in GROUPS[0]], tokenizer.pad_token_id)).backward()
    assert torch.allclose(together, model.model.layers[0].mlp.up_proj.weight.grad, atol=1e-6)


def test_it_learns(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(0)
    losses: list[float] = []
    train_sft(
        model,
        lambda step: GROUPS[:2],
        60,
        1e-2,
        5,
        tokenizer.pad_token_id,
        on_step=lambda step, loss: losses.append(loss),
    )
    assert losses[0] > 4
    assert losses[-1] < 0.1
