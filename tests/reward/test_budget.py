"""Prices of nodes, what was spent, and limits that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rag_graph.config import BudgetConfig, RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Asked, Episode, Example
from rag_graph.reward.budget import Budget, expected_price
from rag_graph.reward.reward import GraphReward

GRAPH = AuxiliaryGraph.build(
    name="priced",
    tasks={"reply": {"goal": 1.0, "cost": 2.0, "metrics": {"external": 1.0}}},
    criteria={
        "kind": {"metric": "judge", "args": {"question": "Is it kind?"}, "observe": 0.5},
        "brief": {"metric": "length_band", "args": {"most": 9}},
        "true": {"metric": "judge", "args": {"question": "Is it true?"}, "cost": 0.1},
        "own": {"metric": "external"},
    },
    edges=[("kind", "reply", "indicates")],
)
BARE = AuxiliaryGraph.build(
    name="bare",
    tasks={"reply": {"goal": 1.0, "metrics": {"exact_match": 1.0}}},
    criteria={"brief": {"metric": "length_band", "args": {"most": 9}}},
    edges=[("brief", "reply", "indicates")],
)


def scorer() -> NodeScorer:
    return NodeScorer(GRAPH, scorers={"reply": lambda episode: 1.0, "own": lambda episode: 0.5})


def budget(**settings: Any) -> Budget:
    return Budget(GRAPH, BudgetConfig(**{"per_update": 10.0, **settings}), scorer())


def episode(**asked: Asked) -> Episode:
    return Episode("1", Example("1", "reply", {"input": "Well?"}), "Well?", "Yes.", asked=asked)


def prices(found: Budget) -> dict[str, float | None]:
    return {node: found.prices.of(node) for node in GRAPH.nodes}


def test_a_price_is_stated_or_measured_or_one() -> None:
    nothing = {"reply": 2.0, "kind": None, "brief": 0.0, "true": 0.1, "own": 0.0}
    assert prices(budget()) == nothing
    assert prices(budget(unit="seconds")) == {"reply": None, "kind": None, "brief": 0.0, "true": None, "own": None}
    assert prices(budget(unit="calls")) == {"reply": 1.0, "kind": 1.0, "brief": 0.0, "true": 1.0, "own": 1.0}
    found = budget()
    found.end_update([episode(kind=Asked(money=0.3)), episode(kind=Asked(money=0.5)), episode(kind=Asked(cached=True))])
    assert prices(found) == nothing | {"kind": pytest.approx(0.8 / 3)}


def test_a_full_cache_or_a_judge_that_is_down_does_not_make_a_node_free() -> None:
    found = budget()
    metrics = found.end_update([episode(kind=Asked(failures=("server_error",)))] * 8)
    assert found.prices.of("kind") is None, "nobody knows what it costs"
    metrics = found.end_update([episode(kind=Asked(cached=True, saved=0.3)), episode(kind=Asked(money=0.5))])
    assert found.prices.of("kind") == 0.4
    assert metrics["budget/spent"] == 0.5
    clock = budget(unit="seconds")
    clock.end_update([episode(kind=Asked(cached=True)), episode(kind=Asked(seconds=2.0, failures=("timeout",)))])
    assert clock.prices.of("kind") == 2.0


def test_seconds_are_measured_of_functions_and_judges() -> None:
    found = budget(unit="seconds")
    metrics = found.end_update(
        [episode(own=Asked(seconds=2.0), brief=Asked(seconds=9.0)), episode(own=Asked(seconds=4.0))]
    )
    assert found.prices.of("own") == 3.0
    assert metrics["budget/spent"] == 6.0
    assert metrics["budget/left"] == 4.0


def test_the_cost_in_the_graph_is_in_place_of_the_money_of_a_judge() -> None:
    found = budget().prices
    assert found.bill("true", Asked(money=7.0, seconds=1.0, tokens_in=5)) == Asked(0.1, 1.0, 5)
    assert found.bill("kind", Asked(money=7.0)) == Asked(money=7.0)
    assert found.bill("true", Asked(cached=True)).money == 0, "what is known already costs nothing"


def test_metrics_of_an_update_say_what_was_spent_and_bought() -> None:
    found = budget()
    metrics = found.end_update([episode(reply=Asked(money=2.0), true=Asked(money=0.1)), episode(true=Asked(money=0.1))])
    assert metrics == {
        "budget/spent": pytest.approx(2.2), "budget/left": pytest.approx(7.8),
        "nodes/reply/bought": 0.5, "nodes/reply/price": 2.0, "nodes/kind/bought": 0.0, "nodes/true/bought": 1.0, "nodes/true/price": 0.1,
    }  # fmt: skip


def test_a_part_of_an_update_may_spend_its_share() -> None:
    found = budget()
    assert found.allowed(8) == 10.0, "the first update: how large it will be is not known"
    found.end_update([episode()] * 32)
    assert found.allowed(8) == 2.5
    found.note(9.0)
    assert found.allowed(8) == 1.0, "no more than is left"


def test_processes_share_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may spend its part on its own answers; spending and prices are of all."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)
    found = budget()
    assert found.allowed(8) == 2.5
    metrics = found.end_update([episode(kind=Asked(money=0.25))] * 32)
    assert (metrics["budget/spent"], metrics["budget/left"]) == (8.0, 2.0)
    assert found.size == 8
    assert found.allowed(4) == 1.25


def test_state_is_restored() -> None:
    found, other = budget(), budget()
    found.end_update([episode(kind=Asked(money=0.25))] * 3)
    found.note(1.0)
    other.load_state_dict(found.state_dict())
    assert other.state_dict() == found.state_dict()
    assert other.prices.of("kind") == 0.25
    assert other.size == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"unit": "cost"}, r"per_update is 5 cost, and no node has a price. Write `cost`"),
        ({"unit": "seconds"}, "5 seconds, and nothing is measured: no function of yours"),
        ({"unit": "calls"}, "5 calls, and no function of yours and no judge"),
    ],
)
def test_a_limit_on_nothing_is_an_error_at_the_start(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        GraphReward(BARE, config={"budget": {"per_update": 5, **settings}})


def test_a_choice_needs_a_limit_and_a_readout_that_knows_what_it_does_not_know(market: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="mode is 'random', and nothing limits"):
        market({"mode": "random"})
    with pytest.raises(
        ConfigError,
        match="readout 'flat' knows no uncertainty of a goal. Use the readout expected_goal, or mode: random",
    ):
        market({"mode": "active", "per_update": 5}, readout="flat")


def test_the_expected_price_of_an_update_is_said_before_it_begins() -> None:
    limit = BudgetConfig(per_update=10, mode="random")
    said = expected_price(GRAPH, RewardConfig(reserved=0.05, goal_observed=0.3, budget=limit), scorer(), 64)
    each = 2 * (0.05 + 0.95 * 0.3) + 0.1
    assert said.startswith(f"cost of an update of 64 answers: {64 * each:g} if every score is bought")
    assert "of kind what they cost, which the run measures" in said
    assert said.endswith("buys for 10 of it (random)")
    assert expected_price(BARE, RewardConfig(), None, 64) == ""


def test_spending_is_counted_where_nothing_limits_it(market: Callable[..., Any]) -> None:
    reward, episodes, _ = market({})
    reward.learn(reward.pay(reward.observe(episodes)))
    assert reward.metrics()["budget/spent"] == 64 * 5
    assert "budget/left" not in reward.metrics()
    assert replace(reward.last_episodes[0].asked["goal"]) == Asked(money=3.0)
