"""The fitted prior: pulled to the file, yields to data, finds gates that the file lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.imputers import prior
from rag_graph.reward.imputers.prior import StructuralPrior
from rag_graph.reward.model import RewardModel
from rag_graph.reward.scores import Scores

Edge = tuple[Any, ...]


@pytest.mark.slow
def test_the_fitted_prior_is_pulled_to_the_file_and_yields_to_data(
    fitted: Callable[..., RewardModel], shuffled: list[Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gap(pull: float) -> float:
        monkeypatch.setattr(prior, "PULL", pull)
        base = fitted(shuffled, rows=256).imputer.base
        assert isinstance(base, StructuralPrior)
        return float((base.slope - base.slope_of_file).detach().abs().mean())

    assert gap(1e4) < 0.01
    assert gap(0.0) > 0.08, "noise indicates nothing"


@pytest.mark.slow
def test_a_gate_that_the_file_lacks_is_found_and_proposed(
    fitted: Callable[..., RewardModel], right: list[Edge], make_graph: Callable[..., AuxiliaryGraph]
) -> None:
    """The bound is stated as an indication, or not at all; only multiplicative structure tells the difference."""
    unstated = [("c1", "t", "indicates", 0.8), ("c2", "t", "indicates_low", 0.8)]
    for edges in ([("c0", "t", "indicates", 0.8), *unstated], unstated):
        model = fitted(edges, rows=512, steps=300)
        base = model.imputer.base
        assert isinstance(base, StructuralPrior)
        found = dict(zip(base.candidates, base.gamma.tolist(), strict=True))
        assert found.pop((2, 0)) > 0.5
        assert max(found.values()) < 0.15
        (proposal,) = model.gate_proposals(make_graph(edges, criteria=6))
        assert (proposal.source, proposal.target, proposal.proposed) == ("c0", "t", "bounds")
    assert fitted(right, rows=512).gate_proposals(make_graph(right, criteria=6)) == [], "it is stated already"


@pytest.mark.slow
def test_linear_truth_discovers_no_gate(
    fitted: Callable[..., RewardModel], make_graph: Callable[..., AuxiliaryGraph]
) -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.rand((512, 8), generator=generator)
    values[:, 0] = (0.3 + 0.3 * values[:, 2] + 0.3 * values[:, 3]).clamp(0, 1)
    observed = torch.ones(512, 8, dtype=torch.bool)
    scores = Scores(values, observed, torch.zeros(512, 8), torch.zeros(512, dtype=torch.long))
    edges = [("c0", "t", "indicates", 0.8), ("c1", "t", "indicates", 0.8)]
    assert fitted(edges, steps=300, scores=scores).gate_proposals(make_graph(edges, criteria=6)) == []
