"""Oracles 8 and 9: shaping leaves the gradient alone, redistribution keeps the return."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_graph.errors import TrainingError
from rag_graph.ppo.token_rewards import (
    PotentialShaping,
    Redistributed,
    SpanReward,
    redistribute,
    sentence_spans,
    shaping_rewards,
)

VOCABULARY, LENGTH = 3, 4
SEQUENCES = list(itertools.product(range(VOCABULARY), repeat=LENGTH))


@pytest.fixture
def world() -> tuple[dict[Any, float], dict[Any, float], dict[Any, torch.Tensor]]:
    """Every sequence's score, every prefix's potential, every prefix's logits, in double precision."""
    generator = torch.Generator().manual_seed(0)
    score = {s: float(torch.randn((), generator=generator)) for s in SEQUENCES}
    prefixes = [p for t in range(LENGTH) for p in itertools.product(range(VOCABULARY), repeat=t)]
    potential = {p: 3 * float(torch.randn((), generator=generator)) for p in prefixes}
    logits = {p: torch.randn(VOCABULARY, generator=generator, dtype=torch.float64).requires_grad_() for p in prefixes}
    return score, potential, logits


def policy_gradient(world: Any, extra: Callable[[tuple[int, ...]], list[float]]) -> torch.Tensor:
    """E[sum_t grad log pi(a_t | s_t) (return from t)] by enumeration of every sequence; the score comes with the last token."""
    score, _, logits = world
    total = torch.zeros((), dtype=torch.float64)
    for s in SEQUENCES:
        logprobs = [logits[s[:t]].log_softmax(0)[s[t]] for t in range(LENGTH)]
        rewards = extra(s)
        rewards[-1] += score[s]
        weight = torch.stack(logprobs).sum().exp().detach()
        total = total + weight * sum(logprobs[t] * sum(rewards[t:]) for t in range(LENGTH))
    return torch.cat(torch.autograd.grad(total, list(logits.values())))


def test_shaping_leaves_the_policy_gradient_alone(world: Any) -> None:
    _, potential, _ = world
    plain = policy_gradient(world, lambda s: [0.0] * LENGTH)
    shaped = policy_gradient(world, lambda s: shaping_rewards([potential[s[:t]] for t in range(LENGTH)]))
    assert plain.abs().max() > 0.01
    assert (plain - shaped).abs().max() < 1e-12


def test_a_potential_at_the_end_changes_it(world: Any) -> None:
    """The control: the same shaping with Phi(end) != 0 is another problem."""
    _, potential, _ = world

    def wrong(s: tuple[int, ...]) -> list[float]:
        rewards = shaping_rewards([potential[s[:t]] for t in range(LENGTH)])
        rewards[-1] += potential[s[:1]] + s[-1]
        return rewards

    plain = policy_gradient(world, lambda s: [0.0] * LENGTH)
    assert (plain - policy_gradient(world, wrong)).abs().max() > 0.1


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.floats(0.5, 1.0))
def test_shaping_telescopes(potentials: list[float], gamma: float) -> None:
    discounted = sum(gamma**t * reward for t, reward in enumerate(shaping_rewards(potentials, gamma)))
    assert discounted == pytest.approx(-potentials[0], abs=1e-6)


@given(
    st.floats(-100, 100),
    st.lists(st.tuples(st.integers(1, 5), st.floats(-5, 5)), min_size=1, max_size=9),
    st.booleans(),
)
def test_redistribution_sums_to_the_scalar(total: float, pieces: list[tuple[int, float]], equal: bool) -> None:
    ends = list(itertools.accumulate(length for length, _ in pieces))
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    rewards = redistribute(total, spans, None if equal else [part for _, part in pieces])
    assert len(rewards) == ends[-1]
    assert sum(rewards) == pytest.approx(total, abs=1e-6)
    paid_at = {end - 1 for end in ends}
    assert all(reward == 0 for t, reward in enumerate(rewards) if t not in paid_at)


def test_sentences_are_found_in_tokens(tiny_model: Callable[[int], Any]) -> None:
    _, tokenizer = tiny_model(1)
    text = "the red kettle . where is it ? good"
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    pieces = [
        tokenizer.decode(ids[start:end], skip_special_tokens=True).strip()
        for start, end in sentence_spans(tokenizer, ids)
    ]
    assert pieces == ["the red kettle .", "where is it ?", "good"]
    assert sentence_spans(tokenizer, ids)[-1][1] == len(ids), "the end token belongs to the last sentence"
    assert sentence_spans(tokenizer, []) == []
    assert sentence_spans(tokenizer, [tokenizer.eos_token_id]) == [(0, 1)]
    closed = [*tokenizer("good . bad .", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert len(sentence_spans(tokenizer, closed)) == 2


def test_what_a_sentence_adds_is_what_it_is_paid(tiny_model: Callable[[int], Any]) -> None:
    _, tokenizer = tiny_model(1)
    ids = [*tokenizer("good kettle . bad . red .", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    def total(prompts: list[str], **_: Any) -> list[float | None]:
        return [3.0] * len(prompts)

    spread = Redistributed(total, tokenizer, lambda prompt, text: 2.0 * text.count("good") - text.count("bad"))
    (rewards,) = spread(["p"], ["..."], [ids])
    assert isinstance(rewards, list)
    ends = [end - 1 for _, end in sentence_spans(tokenizer, ids)]
    rest = (3.0 - 1.0) / 3
    assert [rewards[t] for t in ends] == pytest.approx([2 + rest, -1 + rest, rest])
    assert sum(rewards) == pytest.approx(3)
    assert Redistributed(lambda **_: [None], tokenizer)(["p"], [""], [ids]) == [None]
    assert Redistributed(lambda **_: [2.0], tokenizer)(["p"], [""], [[]]) == [2.0]


def test_sentences_with_rewards_of_their_own(tiny_model: Callable[[int], Any]) -> None:
    _, tokenizer = tiny_model(1)
    ids = tokenizer("good . bad .", add_special_tokens=False)["input_ids"]
    (rewards,) = SpanReward(lambda prompt, sentence: float("good" in sentence), tokenizer)(["p"], [ids])
    (_, first), (_, second) = sentence_spans(tokenizer, ids)
    assert (rewards[first - 1], rewards[second - 1], sum(rewards)) == (1.0, 0.0, 1.0)


def test_potentials_of_another_length_are_refused() -> None:
    def potential(**_: Any) -> list[list[float]]:
        return [[1.0, 2.0]]

    with pytest.raises(TrainingError, match="shaping_potential: 2 potentials for 3 tokens"):
        PotentialShaping(potential)(prompts=["p"], completions=["c"], completion_ids=[[1, 2, 3]])
