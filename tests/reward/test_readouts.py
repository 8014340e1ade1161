"""What each readout pays, and readouts of one's own: a function, or an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from rag_graph.config import ReadoutName, RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.mlp import MlpImputer
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readouts import READOUTS, FromFunction, Given, PredictedGoal, Readout, readout_of
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings


@pytest.fixture
def model(make_graph: Callable[..., AuxiliaryGraph]) -> Callable[..., RewardModel]:
    """A readout's name, one's own -> a model in which c0 gates, c1 supports and c2 harms the goal `t`."""
    relations = ("prerequisite", "supports", "conflicts")
    graph = make_graph([(f"c{i}", "t", relation) for i, relation in enumerate(relations)])

    def make(name: str, own: Readout | Callable[..., Tensor] | None = None) -> RewardModel:
        torch.manual_seed(0)
        return RewardModel(graph, RewardConfig(readout=name), TextEmbeddings().of_graph(graph), own)

    return make


def scores(goal_observed: bool = True) -> Scores:
    """Two episodes of task `t`; nodes are t, u, c0, c1, c2."""
    values = torch.tensor([[0.8, 0.0, 0.5, 1.0, 0.2], [0.4, 0.0, 1.0, 0.0, 0.0]])
    observed = torch.tensor([[goal_observed, False, True, True, True]] * 2)
    return Scores(values, observed, torch.zeros(2, 5), torch.zeros(2, dtype=torch.long))


def test_the_config_names_every_readout_and_no_other() -> None:
    assert set(READOUTS) == set(get_args(ReadoutName))
    assert all(READOUTS[name].name == name for name in READOUTS)
    assert {name for name, readout in READOUTS.items() if readout.fit == "gradient"} == {"mlp", "gnn", "prior_gnn"}
    learning = {name for name, readout in READOUTS.items() if readout.uses_strengths}
    assert learning == {"diffusion", "gated_fixed", "prior_gnn"}


@pytest.mark.parametrize("name", ["goal_only", "flat", "diffusion"])
def test_what_was_not_observed_pays_nothing(model: Callable[..., RewardModel], name: str) -> None:
    paid = model(name)(scores(goal_observed=False), 0.3)
    assert (paid.values[:, :2] == 0).all()
    assert paid.paid.tolist() == [name != "goal_only"] * 2


@pytest.mark.parametrize("name", ["ridge", "mlp", "gnn"])
def test_a_predicted_goal_is_paid_alone(model: Callable[..., RewardModel], name: str) -> None:
    paid = model(name)(scores(goal_observed=False), 0.3)
    assert paid.weights.tolist() == [[1.0, 0, 0, 0, 0]] * 2, "eta has no part in it"
    assert paid.paid.all()


def test_gated_fixed_pays_in_score_units(model: Callable[..., RewardModel]) -> None:
    """By hand: strengths of .5; goal, gate and support count +, harm counts -; divided by 1 + 3 * .5."""
    paid = model("gated_fixed")(scores(), 0.3)
    gate = 0.5 + 0.5 * 0.5
    assert paid.gates[0, 0].item() == pytest.approx(gate)
    by_hand = (0.8 * gate + 0.5 * 0.5 + 0.5 * 1.0 * gate - 0.5 * 0.2) / 2.5
    assert paid.total[0].item() == pytest.approx(by_hand)


def test_a_function_of_ones_own_pays_what_it_returns(model: Callable[..., RewardModel]) -> None:
    def doubled(filled: Tensor, graph: GraphTensors, tasks: Tensor) -> Tensor:
        return 2 * filled

    mine = model("mlp", doubled)
    assert isinstance(mine.readout, FromFunction)
    assert isinstance(mine.imputer, MlpImputer)
    assert mine.readout.fit == "gradient"
    paid = mine(scores(), 0.3)
    assert torch.allclose(paid.total, 2 * paid.scores.sum(-1))
    assert torch.equal(mine.readout.utility(paid), paid.values * paid.weights)


def test_an_object_of_ones_own_is_a_readout_like_any_other(model: Callable[..., RewardModel]) -> None:
    class Worst(PredictedGoal):
        """The worst node in play, by nature between 0 and 1."""

        name = "worst"
        normalises = False

        def worth(self, given: Given) -> tuple[Tensor, Tensor]:
            in_play = given.graph.applies[given.tasks]
            worst = given.filled.masked_fill(~in_play, 1.0).amin(-1, keepdim=True)
            return worst.expand_as(given.filled), torch.ones_like(given.filled)

    mine = model("prior_gnn", Worst())
    assert mine(scores(), 0.3).total.tolist() == pytest.approx([0.2, 0.0])
    assert mine.method == "none", "it uses no strengths"
    assert readout_of("flat", mine.readout) is mine.readout


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3.0, r"returned a float; a tensor of shape \[2, 5\] is expected"),
        (torch.zeros(2, 4), r"shape \[2, 4\]; finite numbers of shape \[2, 5\]"),
        (torch.full((2, 5), torch.nan), "with NaN or infinity"),
    ],
)
def test_what_a_function_returns_is_checked(model: Callable[..., RewardModel], returned: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model("flat", lambda *_: returned)(scores(), 0.3)
