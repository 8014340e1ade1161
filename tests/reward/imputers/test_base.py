"""Oracle 10 and what all imputers share: the range of predictions, caution, what a fit hides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rag_graph.reward.imputers.base import hide
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores

Edge = tuple[Any, ...]


def test_imputation_beats_the_mean_on_the_right_graph_and_loses_it_when_edges_are_shuffled(
    fitted: Callable[..., RewardModel], error: Callable[[RewardModel], float], right: list[Edge], shuffled: list[Edge]
) -> None:
    """Oracle 10: 64 observed goals."""
    mean = error(fitted([], "flat", steps=0))
    assert mean == pytest.approx(1.0, abs=0.05)
    stated, wrong = error(fitted(right, steps=0)), error(fitted(shuffled, steps=0))
    assert stated < mean - 0.25, "what the file says, without a fit"
    assert wrong > mean - 0.02, "the wrong file says nothing"
    learned, rescued = error(fitted(right)), error(fitted(shuffled))
    assert learned < mean - 0.3
    assert learned < rescued - 0.03, "the right graph must help beyond what the same data tell"


def test_with_few_observations_the_prior_beats_what_knows_no_graph(
    fitted: Callable[..., RewardModel], error: Callable[[RewardModel], float], right: list[Edge]
) -> None:
    prior = error(fitted(right, rows=16))
    for readout in ("ridge", "mlp", "gnn"):
        assert prior < error(fitted(right, readout, rows=16)) - 0.05, readout


def test_predictions_stay_in_the_observed_range_and_caution_lowers_them(
    fitted: Callable[..., RewardModel], planted: Callable[..., tuple[Scores, Tensor]], right: list[Edge]
) -> None:
    bold, careful = (fitted(right, rows=24, caution=caution) for caution in (0.0, 2.0))
    scores, _ = planted(500, 7, share=0.0)
    with torch.no_grad():
        filled = bold.fill(scores)
        expected, spread = careful.imputer.predict(scores, careful.graph)
        lowered = careful.fill(scores)
    assert filled[:, 0].min() >= bold.imputer.low[0]
    assert filled[:, 0].max() <= bold.imputer.high[0]
    assert spread[:, 0].min() >= 0
    assert spread[:, 0].mean() > 0.005, "heads that saw other halves must disagree"
    assert torch.allclose(lowered[:, 0], (expected - 2.0 * spread)[:, 0].clamp(0, 1))
    assert torch.equal(lowered[scores.observed], scores.values[scores.observed]), "what was observed is never lowered"


def test_a_fit_hides_the_goal_always_and_others_sometimes(planted: Callable[..., tuple[Scores, Tensor]]) -> None:
    scores, _ = planted(4000, 1)
    reads = torch.zeros(8, dtype=torch.bool)
    reads[7] = True
    hidden = hide(scores, torch.rand((4000, 8), generator=torch.Generator().manual_seed(0)), reads)
    assert torch.equal(hidden[:, 0], scores.observed[:, 0])
    assert (hidden & ~scores.observed).sum() == 0
    assert hidden[:, 2:7].sum() / scores.observed[:, 2:7].sum() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(hidden[:, 7], scores.observed[:, 7]), "what compares with the reference goes with the goal"
