"""What it cost to ask, per node and in all."""

from __future__ import annotations

import pytest

from rag_graph.evaluation.costs import cost_line, cost_metrics, is_cost, summed_costs
from rag_graph.records import Asked, Episode, Example

EXAMPLE = Example("1", "t", {})


def test_costs_per_node_and_in_all() -> None:
    asked = Asked(money=0.25, seconds=2.0, tokens_in=100, tokens_out=7, requests=1)
    episodes = [
        Episode("1", EXAMPLE, "", "", asked={"a": asked, "b": Asked(seconds=1.0, requests=0.5, failures=("timeout",))}),
        Episode("2", EXAMPLE, "", "", asked={"a": Asked(cached=True)}),
        Episode("3", EXAMPLE, "", "", asked={"a": asked + Asked(requests=1, failures=("empty", "timeout"))}),
    ]
    assert cost_metrics(episodes) == {
        "nodes/a/requests": 3, "nodes/a/cached": 1, "nodes/a/tokens_in": 200, "nodes/a/tokens_out": 14, "nodes/a/cost": 0.5, "nodes/a/seconds": 4,
        "nodes/b/requests": 0.5, "nodes/b/cached": 0, "nodes/b/tokens_in": 0, "nodes/b/tokens_out": 0, "nodes/b/cost": 0, "nodes/b/seconds": 1,
        "judge/requests": 3.5, "judge/cached": 1, "judge/tokens_in": 200, "judge/tokens_out": 14, "judge/cost": 0.5, "judge/seconds": 5,
        "judge/failed": 3, "judge/failed/empty": 1, "judge/failed/timeout": 2,
    }  # fmt: skip


def test_nobody_was_asked() -> None:
    assert cost_metrics([Episode("1", EXAMPLE, "", "")]) == {}


def test_records_are_summed_by_what_they_hold_of_costs() -> None:
    records = [
        {"judge/cost": 0.5, "nodes/a/cost": 0.5, "seconds/update": 9, "stage": "ppo"},
        {"judge/cost": 0.25, "nodes/a/score": 1},
    ]
    assert summed_costs(records) == pytest.approx({"judge/cost": 0.75, "nodes/a/cost": 0.5})
    assert [is_cost(name) for name in ("nodes/a/seconds", "nodes/a/failed", "judge/failed/empty", "seconds/update")] == [
        True, False, True, False,
    ]  # fmt: skip


def test_costs_in_a_line() -> None:
    asked = Asked(money=0.25, seconds=2.0, tokens_in=1200, tokens_out=7, requests=1, failures=("timeout", "empty"))
    costs = cost_metrics([Episode("1", EXAMPLE, "", "", asked={"a": asked, "b": Asked(cached=True)})])
    assert cost_line(costs) == (
        "judges: 1 requests, 1 scores known, 1,200 + 7 tokens, money 0.25, 2.0 s of waiting; no mark: empty 1, timeout 1"
    )
    assert cost_line({}) == ""
