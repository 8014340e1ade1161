"""Blocks of episodes, log-probabilities and values, against forward passes of each episode alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig

from rag_graph.generation.sampling import sample_responses
from rag_graph.generation.trunk import Trunk, trained_part
from rag_graph.generation.trunk_memory import TrunkMemory
from rag_graph.generation.trunk_prompts import TrunkPrompts
from rag_graph.ppo.actor_critic import ActorCritic, PolicyForward, SharedValueHead, Tokens


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


def test_a_block_of_episodes_by_hand() -> None:
    tokens = Tokens.of([[5, 6], [7]], [[8], [9, 10, 11]])
    assert tokens.ids.tolist() == [[5, 6, 8, 0], [7, 9, 10, 11]]
    assert tokens.response.tolist() == [[True, False, False], [True, True, True]]
    assert tokens.states.tolist() == [[1, 2, 2, 2], [0, 1, 2, 3]]
    assert tokens.labels().tolist() == [8, 9, 10, 11]
    hidden = torch.arange(8.0).reshape(2, 4, 1)
    assert tokens.pick(hidden)[..., 0].tolist() == [[1, 2, 2, 2], [4, 5, 6, 7]]
    empty = Tokens.of([[5, 6]], [[]])
    assert (empty.ids.tolist(), empty.response.tolist()) == ([[5, 6]], [[False]])
    assert empty.labels().tolist() == []


@pytest.mark.parametrize("shared", [True, False])
def test_values_are_the_head_on_the_states_around_the_tokens(tiny_model: Callable[[int], Any], shared: bool) -> None:
    policy = tiny_model(1)[0].eval()
    other = policy if shared else tiny_model(2)[0].eval()
    critic = SharedValueHead(other)
    assert critic.score.weight.abs().sum() == 0, "it starts at zero"
    torch.nn.init.normal_(critic.score.weight)
    torch.nn.init.constant_(critic.score.bias, 0.5)
    both = ActorCritic(policy, critic)
    both.shared = shared
    queries, responses = [[5, 6, 7], [9]], [[10], [12, 13]]
    with torch.no_grad():
        values = both(Tokens.of(queries, responses), 1.0).values
        for row, (query, response) in enumerate(zip(queries, responses, strict=True)):
            states = other.model(torch.tensor([query + response]))[0][0, len(query) - 1 :]
            expected = states @ critic.score.weight[0] + 0.5
            assert torch.allclose(values[row, : len(response) + 1], expected, atol=1e-5)


@pytest.mark.parametrize("lora", [False, True])
def test_gradients_are_those_of_a_pass_through_all_layers(
    deep_family: str, deep_model: Callable[[str], Any], lora: bool
) -> None:
    """The trunk's activations come from sampling; policy and value head learn from them."""
    whole, stops = deep_model(deep_family), list(range(20, 40))
    adapter = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False) if lora else None
    critic = SharedValueHead(whole)
    torch.nn.init.normal_(critic.score.weight)
    policy = trained_part(whole, adapter, 2).eval()
    trunk = Trunk.of(policy, 2)
    assert trunk is not None
    both, memory = ActorCritic(policy, critic, True, trunk), TrunkMemory(trunk, TrunkPrompts(trunk, policy, 10**9))
    queries = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, 10], [11], [12, 13, 14]]
    noise = torch.rand((4, 6), generator=torch.Generator().manual_seed(2))
    responses = sample_responses(policy, queries, 6, noise, 0.8, stops, 0, 4, memory)
    if deep_family == "gemma2":  # its attention takes its softmax in float32, so that step by step is not exact
        memory.forget()
    weights = [weight for weight in both.parameters() if weight.requires_grad]

    def gradients(below: torch.Tensor | None) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        tokens = Tokens.of(queries, responses, below=below)
        scores = both(tokens, 0.8)
        signs = torch.linspace(-1, 1, scores.logprobs.numel()).reshape(scores.logprobs.shape).double()
        loss = (signs * scores.logprobs).sum() + scores.values[:, :6].square().sum()
        return loss.detach(), torch.autograd.grad(loss, weights)

    loss, expected = gradients(None)
    kept_loss, found = gradients(memory.block(policy, [[*q, *r] for q, r in zip(queries, responses, strict=True)]))
    assert len(memory) == len({(*q, *r) for q, r in zip(queries, responses, strict=True)})
    assert abs(float(loss - kept_loss)) < 1e-9
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9)
        assert other.abs().max() > 1e-6
