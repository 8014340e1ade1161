"""The choice of passages: probabilities against enumeration, gradients against differences, losses by hand."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rag_graph.rag.choice import (
    Candidates,
    QueryLearner,
    choice_logits,
    clipped_choice_loss,
    contrastive_loss,
    distillation_loss,
    plackett_luce_draw,
    plackett_luce_log_prob,
)
from rag_graph.retrieval.encoder import SentenceEncoder
from tests.contracts.retriever import TEXTS

INF = math.inf
LOGITS = torch.tensor([[0.3, -1.0, 0.8, 0.1], [2.0, 0.0, -INF, -INF]])


def test_plackett_luce_equals_enumeration() -> None:
    weights = LOGITS[0].exp().tolist()
    total = 0.0
    for order in itertools.permutations(range(4), 2):
        expected = weights[order[0]] / sum(weights) * weights[order[1]] / (sum(weights) - weights[order[0]])
        found = plackett_luce_log_prob(LOGITS[:1], torch.tensor([order])).exp().item()
        assert found == pytest.approx(expected, rel=1e-5)
        total += found
    assert total == pytest.approx(1.0, abs=1e-5)
    short = plackett_luce_log_prob(LOGITS, torch.tensor([[2, 0, 3], [1, 0, -1]]))
    assert short[1].item() == pytest.approx(math.log(1 / (1 + math.e**2)), abs=1e-5)
    assert plackett_luce_log_prob(LOGITS[:1], torch.tensor([[0, 1, 2, 3]])).isfinite().all()


def test_draws_follow_the_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = plackett_luce_draw(LOGITS.repeat_interleave(20_000, 0), 3, generator)
    assert (drawn[20_000:, 2] == -1).all(), "two candidates, no third"
    first, second = drawn[:20_000, 0], drawn[:20_000, 1]
    for order in itertools.permutations(range(4), 2):
        share = ((first == order[0]) & (second == order[1])).float().mean().item()
        expected = plackett_luce_log_prob(LOGITS[:1], torch.tensor([order])).exp().item()
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / 20_000))


def test_gradients_of_the_choice_equal_differences() -> None:
    logits = LOGITS[:1].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: plackett_luce_log_prob(s, torch.tensor([[2, 0]])), (logits,))


def test_distillation_by_hand() -> None:
    targets = torch.tensor([[-0.1, -2.0, math.nan, -1.0], [-1.0, -3.0, 0.0, 0.0]])
    found = distillation_loss(LOGITS, targets, 0.5).item()
    expected = 0.0
    for logits, wanted in (([0.3, -1.0, 0.1], [-0.1, -2.0, -1.0]), ([2.0, 0.0], [-1.0, -3.0])):
        q = torch.tensor(logits).softmax(0)
        p = (torch.tensor(wanted) / 0.5).softmax(0)
        expected += (p * (p / q).log()).sum().item() / 2
    assert found == pytest.approx(expected, abs=1e-5)
    everything_unknown = distillation_loss(LOGITS.clone().requires_grad_(), torch.full_like(LOGITS, math.nan), 1.0)
    assert everything_unknown.item() == 0.0
    everything_unknown.backward()


def test_distillation_stays_near_a_prior() -> None:
    """Aimed at is what has the highest mean target less the temperature times its KL to the prior: nothing nearby has more."""
    prior, targets, temperature = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 0.5, 3.0]]), 0.7
    aim = (prior + targets / temperature).log_softmax(1)
    assert distillation_loss(aim, targets, temperature, prior).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(aim, targets, temperature, prior + 5).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(prior, targets, 1e4, prior).item() < 1e-6 < distillation_loss(prior, targets, 1e4).item()

    def gain(log_choice: torch.Tensor) -> float:
        choice = log_choice.exp()
        divergence = (choice * (log_choice - prior.log_softmax(1))).sum()
        return ((choice * targets).sum() - temperature * divergence).item()

    turns = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    assert max(gain((aim + turn).log_softmax(1)) for turn in turns) < gain(aim)


def test_targets_that_are_alike_leave_the_choice_as_it_is() -> None:
    moving = LOGITS[:, :2].clone().requires_grad_()
    distillation_loss(moving, torch.tensor([[0.5, 0.5], [math.nan, 0.2]]), 0.2).backward()
    assert moving.grad is not None
    assert not moving.grad.any()
    distillation_loss(moving, torch.tensor([[0.5, 0.5], [0.2, 0.2]]), 0.2, LOGITS[:, :2].flip(1)).backward()
    assert moving.grad.any(1).all(), "but for a prior, which draws them back"


def test_distillation_at_the_edges() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    distillation_loss(logits, torch.tensor([[-1.0, -2.0, -INF]]), 0.5).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.any()
    with_gap = distillation_loss(LOGITS[:1, :3], torch.tensor([[-12.0, -11.0, math.nan]]), 0.001).item()
    assert with_gap == pytest.approx(distillation_loss(LOGITS[:1, :2], torch.tensor([[-12.0, -11.0]]), 0.001).item())
    assert with_gap > 0.1


def test_a_row_without_candidates_has_no_gradient() -> None:
    logits = torch.full((1, 3), 0.0, requires_grad=True)
    masked = logits.masked_fill(torch.ones(1, 3, dtype=torch.bool), -INF)
    plackett_luce_log_prob(masked, torch.tensor([[-1, -1]])).sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()
    far = torch.tensor([100.0], requires_grad=True)
    assert clipped_choice_loss(far, torch.zeros(1), torch.zeros(1), 0.2).item() == 0.0


def test_an_encoder_with_dropout_has_one_embedding_of_a_text(plain_bert: Path) -> None:
    encoder = SentenceEncoder(str(plain_bert))
    assert torch.equal(encoder.embed(TEXTS), encoder.copy().embed(TEXTS))
    encoder.encode(TEXTS)
    assert not encoder.model.training


def test_distillation_has_finite_gradients_where_candidates_are_missing() -> None:
    moving = torch.tensor([[0.3, -1.0, 0.0], [2.0, 0.0, 0.0]], requires_grad=True)
    masked = moving.masked_fill(torch.tensor([[False, False, False], [False, False, True]]), -INF)
    distillation_loss(masked, torch.tensor([[0.0, 1.0, math.nan], [1.0, 0.0, 0.0]]), 1.0).backward()
    assert moving.grad is not None
    assert moving.grad.isfinite().all()
    assert moving.grad[0, 2] == 0
    assert moving.grad[1, 2] == 0
    assert moving.grad[0, 0] > 0 > moving.grad[0, 1], "towards the better passage"


def test_the_clip_stops_the_gradient() -> None:
    old = torch.zeros(4)
    new = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    clipped_choice_loss(new, old, torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2).backward()
    assert new.grad is not None
    assert (new.grad != 0).tolist() == [False, True, True, False]


def test_contrast_leaves_out_what_is_right_as_well() -> None:
    queries = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    gold = queries[[0, 0, 2]]
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    whole = contrastive_loss(queries, gold, 0.1, same).item()
    by_hand = [
        (-(queries[r] @ gold[r]) / 0.1 + (queries[r] @ gold[o].T / 0.1).logsumexp(0)).item()
        for r, o in ((0, [0, 2]), (1, [1, 2]), (2, [0, 1, 2]))
    ]
    assert whole == pytest.approx(sum(by_hand) / 3, abs=1e-5)


def test_embedding_with_gradients_is_the_embedding(scratch_encoder: SentenceEncoder) -> None:
    found = scratch_encoder.embed(TEXTS)
    assert found.requires_grad
    assert np.abs(found.detach().numpy() - scratch_encoder.encode(TEXTS)).max() < 1e-5


def test_the_query_side_learns_and_the_passages_stay(scratch_encoder: SentenceEncoder) -> None:
    queries = scratch_encoder.copy()
    vectors = scratch_encoder.encode(TEXTS)
    learner = QueryLearner(queries, 1e-3, 0.05)
    candidates = Candidates.of(["red kettle", "green hoses"], [vectors[[0, 1, 2]], vectors[[2, 4]]])
    wanted = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, math.nan]])
    before = learner.logits(candidates).softmax(1)
    for _ in range(30):
        learner.step(distillation_loss(learner.logits(candidates), wanted, 0.1))
    after = learner.logits(candidates).softmax(1)
    assert before[0, 2] < 0.5 < after[0, 2]
    assert after[1, 1] > 0.9
    assert np.array_equal(scratch_encoder.encode(TEXTS), vectors)
    assert queries.fingerprint() != scratch_encoder.fingerprint()
    kept = QueryLearner(scratch_encoder.copy(), 1e-3, 0.05)
    kept.load_state_dict(learner.state_dict())
    assert torch.equal(kept.logits(candidates), learner.logits(candidates))


def test_logits_of_padded_candidates() -> None:
    candidates = Candidates.of(["a", "b"], [np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[:1]])
    logits = choice_logits(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), candidates, 0.5)
    assert logits.tolist() == [[2.0, 0.0], [0.0, -INF]]
