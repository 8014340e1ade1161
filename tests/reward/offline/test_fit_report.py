"""What a report says in a line, in a notebook and as JSON; which readout is worth using."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from rag_graph.evaluation.statistics import Interval
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward import GraphReward
from rag_graph.reward.offline.fit_report import FitReport, Score, judge

NOTHING = Interval(0.5, 0.4, 0.6)


def scored(readout: str, mean: float, gap: Interval | None) -> Score:
    return Score(readout, Interval(mean, mean - 0.1, mean + 0.1), NOTHING, None, None, gap, 1.0)


@pytest.mark.parametrize(
    ("best", "gap", "worth", "said"),
    [
        (0.7, Interval(0.1, 0.02, 0.18), "ridge", "`ridge` is worth using with 40 goals"),
        (0.7, Interval(0.1, -0.01, 0.21), "flat", "not distinguishable from the simplest with 40 goals"),
        (0.5, Interval(-0.1, -0.2, -0.02), "flat", "`flat`, the simplest, is the best of 2 with 40 goals"),
    ],
)
def test_a_readout_is_worth_using_where_it_is_beyond_chance(best: float, gap: Interval, worth: str, said: str) -> None:
    found = judge((scored("flat", 0.6, None), scored("ridge", best, gap)), 40, 0)
    assert found[2] == worth
    assert said in found[3]


def test_one_readout_is_judged_and_not_recommended() -> None:
    assert judge((scored("ridge", 0.6, None),), 40, 0)[2:] == (
        "",
        f"`ridge` alone was judged, with 40 goals: {Interval(0.6, 0.5, 0.7)}",
    )


def test_without_goals_preferences_decide() -> None:
    one = replace(scored("flat", float("nan"), None), preferred=Interval(0.8, 0.7, 0.9))
    other = replace(scored("ridge", float("nan"), None), preferred=Interval(0.7, 0.6, 0.8))
    best, simplest, worth, said = judge((one, other), 0, 30)
    assert (best, simplest, worth) == ("flat", "flat", "")
    assert "no goal is observed, so only the order of 30 preference pairs is judged" in said


@pytest.fixture(scope="module")
def report(graph: AuxiliaryGraph, made_rows: Callable[..., list[dict[str, Any]]]) -> FitReport:
    return GraphReward(graph).fit(pd.DataFrame(made_rows(24)), readouts=["flat"])


def test_it_is_short_in_a_line_and_in_a_notebook(report: FitReport) -> None:
    assert repr(report).startswith(
        "FitReport('made', expected_goal: 24 rows, 24 goals, 12 groups, held-out rank correlation "
    )
    assert len(repr(report)) < 400
    page = replace(report, verdict="a < b")._repr_html_()
    assert "a &lt; b" in page
    assert page.count("<tr>") == 3
    assert len(page) < 3000


def test_it_is_json(report: FitReport) -> None:
    again = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert again["scores"][0]["readout"] == "flat"
    assert set(again["scores"][0]["spearman"]) == {"mean", "low", "high"}
    assert again["goals"] == {"goal": 24}
    assert again["scores"][0]["from_simplest"] is None
