"""Blocks of episodes, log-probabilities and values, against forward passes of each episode alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rag_graph.ppo.actor_critic import PolicyForward, Tokens


def test_log_probabilities_of_every_family_are_those_of_the_model_alone(
    family: str, family_model: Callable[[str], Any]
) -> None:
    """Models that scale or cap their logits are noticed and left to compute them."""
    torch.manual_seed(0)
    policy: Any = family_model(family).eval()
    with torch.no_grad():  # large enough logits for a cap to bend them
        policy.get_input_embeddings().weight *= 20
    queries, responses = [[5, 6, 7, 8], [9], [3, 4]], [[10, 11], [12, 13, 14, 15], [16]]
    forward = PolicyForward(policy)
    assert forward.fused == (family not in ("gemma2", "cohere"))
    logprobs, entropy, hidden = forward(policy, Tokens.of(queries, responses), 0.8, entropy=True)
    assert logprobs.shape == (3, 4)
    assert hidden.shape[:2] == (3, 5)
    for row, (query, response) in enumerate(zip(queries, responses, strict=True)):
        with torch.no_grad():
            logits = policy(torch.tensor([query + response])).logits[0, len(query) - 1 : -1] / 0.8
        expected = logits.log_softmax(-1)
        picked = expected.gather(-1, torch.tensor(response)[:, None])[:, 0]
        assert torch.allclose(logprobs[row, : len(response)], picked, atol=1e-4)
        assert (logprobs[row, len(response) :] == 0).all()
        assert entropy is not None
        assert torch.allclose(entropy[row, : len(response)], -(expected.exp() * expected).sum(-1), atol=1e-4)
