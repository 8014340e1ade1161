"""The list of readouts, the default, and readouts of one's own: a function, or an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from rag_graph.config import ReadoutName, RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.reward.formulas import Worth
from rag_graph.reward.graph_tensors import GraphTensors
from rag_graph.reward.imputers.evidence import EvidenceImputer
from rag_graph.reward.imputers.graph_network import GraphImputer
from rag_graph.reward.imputers.mlp import MlpImputer
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readout import Given, Readout
from rag_graph.reward.readouts import READOUTS, FromFunction, readout_of
from rag_graph.reward.scores import Scores


def test_the_config_names_every_readout_and_no_other() -> None:
    assert set(READOUTS) == set(get_args(ReadoutName))
    assert all(READOUTS[name].name == name for name in READOUTS)
    assert RewardConfig().readout == "expected_goal"
    assert {name for name, readout in READOUTS.items() if readout.fit == "gradient"} == {"mlp", "gnn", "prior_gnn"}
    learning = {name for name, readout in READOUTS.items() if readout.uses_strengths}
    assert learning == {"expected_goal", "prior_gnn", "diffusion", "gated_fixed"}


@pytest.mark.parametrize(("name", "imputer"), [("expected_goal", EvidenceImputer), ("prior_gnn", GraphImputer)])
def test_an_observed_goal_is_paid_by_the_rules_whatever_predicts(
    name: str, imputer: type, of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    model = of_rules(name)
    assert isinstance(model.imputer, imputer)
    paid = model(two_episodes(), 0.0)
    bound = 1 / (1 + 0.25 + 0.5)
    first = 0.75 * (0.8 + bound * 0.25 * 1.0) - bound * 0.5 * 0.2
    assert paid.total.tolist() == pytest.approx([first, 0.4])
    assert paid.gates[:, 0].tolist() == pytest.approx([0.75, 1.0])


@pytest.mark.parametrize("name", ["expected_goal", "prior_gnn"])
def test_a_hidden_goal_is_paid_as_what_is_expected_of_it(
    name: str, of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    model, hidden = of_rules(name), two_episodes(goal_observed=False)
    with torch.no_grad():
        goal = model.predict_goal(hidden)
        filled = torch.cat([goal[:, None], hidden.values[:, 1:]], -1)
        as_if = model(Scores(filled, two_episodes().observed, hidden.retrieved, hidden.tasks), 0.0)
        assert torch.allclose(model(hidden, 0.0).total, as_if.total)


def test_a_function_of_ones_own_pays_what_it_returns(
    of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    def doubled(filled: Tensor, graph: GraphTensors, tasks: Tensor) -> Tensor:
        return 2 * filled

    mine = of_rules("mlp", doubled)
    assert isinstance(mine.readout, FromFunction)
    assert isinstance(mine.imputer, MlpImputer)
    assert mine.readout.fit == "gradient"
    paid = mine(two_episodes(), 0.0)
    assert torch.allclose(paid.total, 2 * paid.scores.sum(-1))
    assert torch.equal(mine.utility(paid.scores, two_episodes(), 0.0, mine.graph), paid.values * paid.weights)
    in_units = of_rules("mlp", doubled, scale="deviation")
    in_units.settle(two_episodes())
    apart = in_units(two_episodes(), 0.0).total.diff() * in_units.scale.deviation
    assert apart.item() == pytest.approx(paid.total.diff().item(), abs=1e-6)


def test_an_object_of_ones_own_is_a_readout_like_any_other(
    of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores]
) -> None:
    class Worst(Readout):
        """The worst node in play."""

        name = "worst"
        pays_unobserved = True

        def worth(self, given: Given) -> Worth:
            in_play = given.graph.applies[given.tasks]
            worst = given.filled.masked_fill(~in_play, 1.0).amin(-1, keepdim=True)
            once = torch.nn.functional.one_hot(given.tasks, given.filled.shape[-1]).to(worst.dtype)
            return Worth(worst.expand_as(given.filled), once, torch.ones_like(given.filled))

    mine = of_rules("prior_gnn", Worst())
    assert mine(two_episodes(), 0.3).total.tolist() == pytest.approx([0.2, 0.0])
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
def test_what_a_function_returns_is_checked(
    of_rules: Callable[..., RewardModel], two_episodes: Callable[..., Scores], returned: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        of_rules("flat", lambda *_: returned)(two_episodes(), 0.3)
