"""What each baseline pays, by hand, in score units."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.baselines import RandomReward
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readout import Given, PredictedGoal
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.scores import Scores

PREDICTED = sorted(name for name, readout in READOUTS.items() if isinstance(readout, PredictedGoal))


def test_these_predict_the_goal_and_pay_nothing_else() -> None:
    assert set(PREDICTED) == {"product", "em_product", "soft_min", "ridge", "ridge_equal", "boosting", "mlp", "gnn"}


@pytest.mark.parametrize("name", PREDICTED)
def test_a_predicted_goal_is_paid_alone(
    name: str, of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    model = of_rules(name)
    paid = model(two_episodes(goal_observed=False), 0.3)
    assert paid.weights.tolist() == [[1.0, 0, 0, 0, 0]] * 2, "eta has no part in it"
    assert torch.allclose(paid.total, model.predict_goal(two_episodes()))
    assert model(two_episodes(), 0.3).total.tolist() == pytest.approx([0.8, 0.4])


def test_goal_only_pays_what_was_observed(
    of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    assert of_rules("goal_only")(two_episodes(), 0.3).total.tolist() == pytest.approx([0.8, 0.4])


def test_flat_charges_a_conflict(of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]) -> None:
    """No one adds a conflict as a merit. The others weigh as much as the goal, all together."""
    by_hand = [0.8 + (0.5 + 1.0 - 0.2) / 3, 0.4 + 1.0 / 3]
    assert of_rules("flat")(two_episodes(), 0.0).total.tolist() == pytest.approx(by_hand)


def test_flat_adds_standard_deviations(
    of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    """Before anything was seen a score is uniform: 1/2 and the root of 1/12; the sum of such numbers has a deviation of about 1."""
    unit = (1 / 12) ** 0.5
    by_hand = (0.3 + (0.0 + 0.5 - (0.2 - 0.5)) / 3) / unit
    assert of_rules("flat", scale="deviation")(two_episodes(), 0.0).total[0].item() == pytest.approx(by_hand, rel=1e-5)


def test_gated_fixed_by_hand(of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]) -> None:
    """Strengths of .5; goal, gate and support count +, harm counts -; divided by 1 + 3 * .5."""
    paid = of_rules("gated_fixed")(two_episodes(), 0.3)
    gate = 0.5 + 0.5 * 0.5
    assert paid.gates[0, 0].item() == pytest.approx(gate)
    by_hand = (0.8 * gate + 0.5 * 0.5 + 0.5 * 1.0 * gate - 0.5 * 0.2) / 2.5
    assert paid.total[0].item() == pytest.approx(by_hand)


def test_the_divisor_of_gated_fixed_does_not_depend_on_what_was_observed(
    make_graph: Callable[..., AuxiliaryGraph],
) -> None:
    """s05: it was the weight of what was observed, so an easy criterion paid more where the goal was hidden: correlation .26 with the goal.
    With a fixed divisor and a hidden goal at its mean it is .47."""
    graph = make_graph([("c0", "t", "supports", 0.5)], criteria=1)
    model = RewardModel(graph, RewardConfig(readout="gated_fixed", scale="score"), torch.zeros(len(graph.nodes), 4))
    generator, rows = torch.Generator().manual_seed(0), 20_000
    goal, easy = ((torch.rand(rows, generator=generator) < share).float() for share in (0.3, 0.9))
    observed = torch.ones(rows, 3, dtype=torch.bool)
    observed[:, 0], observed[:, 1] = torch.rand(rows, generator=generator) < 0.3, False
    scores = Scores(
        torch.stack([goal, 0 * goal, easy], -1), observed, torch.zeros(rows, 3), torch.zeros(rows, dtype=torch.long)
    )
    model.observe(scores)
    paid = model(scores, 0.0)
    assert torch.allclose(paid.weights, torch.tensor([1 / 1.5, 0.0, 0.5 / 1.5]))
    assert torch.corrcoef(torch.stack([paid.total, goal]))[0, 1].item() == pytest.approx(0.47, abs=0.02)
    hidden = ~observed[:, 0]
    by_hand = (model.imputer.base.means[0] + 0.5 * easy[hidden]) / 1.5
    assert torch.allclose(paid.total[hidden], by_hand)


def random_of(values: torch.Tensor, graph: AuxiliaryGraph) -> torch.Tensor:
    rows = len(values)
    scores = Scores(
        values,
        torch.ones(values.shape, dtype=torch.bool),
        torch.zeros(values.shape),
        torch.zeros(rows, dtype=torch.long),
    )
    worth = RandomReward().worth(Given(values, scores, GraphTensors.of(graph), 0.0, 0.5, 1))
    return (worth.values * worth.weights).sum(-1)


def test_a_random_reward_knows_nothing_and_forgets_nothing(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    graph = make_graph([])
    values = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0))
    paid = random_of(values, graph)
    assert torch.equal(paid, random_of(values, graph)), "the same answer pays the same"
    assert 0 <= paid.min() <= paid.max() <= 1
    assert paid.mean().item() == pytest.approx(0.5, abs=0.02)
    assert paid.std().item() == pytest.approx((1 / 12) ** 0.5, abs=0.02)
    together = torch.corrcoef(torch.cat([paid[None], values.T]))[0, 1:]
    assert together.abs().max() < 0.06
