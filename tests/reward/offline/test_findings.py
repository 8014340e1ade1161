"""What a table says about the graph: planted faults are found, and a right file has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rag_graph.evaluation.statistics import Interval
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward import GraphReward
from rag_graph.reward.offline.findings import (
    Finding,
    Weight,
    beside_others,
    gather_evidence,
    idle_gates,
    proposals,
    weights,
)
from rag_graph.reward.offline.table import LoggedTable, read_logged

Make = Callable[..., list[dict[str, Any]]]
MakeGraph = Callable[..., AuxiliaryGraph]
PLACES = ["f.yaml:10", "f.yaml:11", "f.yaml:12", "f.yaml:13"]


def logged(graph: AuxiliaryGraph, rows: list[dict[str, Any]], **columns: Any) -> LoggedTable:
    frame = pd.DataFrame(rows)
    return read_logged(frame.assign(**columns), graph)


def test_a_wrong_sign_and_a_missing_relation_are_proposed_with_their_places(
    made_graph: MakeGraph, made_rows: Make
) -> None:
    graph = made_graph(("right", "indicates_low", 1.0), ("noise", "supports", 0.5), ("form", "supports", 0.5))
    reward = GraphReward(graph)
    assert gather_evidence(reward, logged(graph, made_rows(400))) == 40
    found = {(one.source, one.kind): one for one in proposals(reward, PLACES[:3])}
    assert found["right", "flip"].place == "f.yaml:10"
    assert "looks like 'indicates'" in found["right", "flip"].text
    assert found["form", "relation"].place == "add below f.yaml:12"
    assert not any(source == "noise" for source, _ in found)


def test_each_row_counts_once_in_blocks_of_whole_groups(graph: AuxiliaryGraph, made_rows: Make) -> None:
    reward = GraphReward(graph)
    table = logged(graph, made_rows(400))
    gather_evidence(reward, table)
    learner = reward.model.learner
    facts = learner.moments[0, : len(graph.spec.edges)]
    assert facts.tolist() == [400.0] * 3
    assert gather_evidence(GraphReward(graph), logged(graph, made_rows(60))) == 0, "7 blocks are too few"
    one = logged(graph, made_rows(400), group=np.arange(400) // 50)
    assert gather_evidence(GraphReward(graph), one) == 0, "8 groups are too few, however many rows they have"


def test_a_right_file_has_no_findings(graph: AuxiliaryGraph, made_rows: Make) -> None:
    reward, table = GraphReward(graph), logged(graph, made_rows(400))
    gather_evidence(reward, table)
    assert [one for one in proposals(reward, []) if one.source == "noise"] == []
    assert idle_gates(table, []) == []


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (np.ones(200), "idle", "lowers 0 of 200 rows, "),
        (np.zeros(200), "closed", "is about 0.20 in all but 0 of 200 rows"),
        (np.full(200, np.nan), "unseen", "'form' is observed in no row"),
    ],
)
def test_gates_that_do_nothing(made_graph: MakeGraph, values: np.ndarray, kind: str, said: str) -> None:
    graph = made_graph(("form", "prerequisite", 0.8), ("right", "supports", 0.5))
    rng = np.random.default_rng(0)
    table = read_logged(pd.DataFrame({"form": values, "right": rng.random(200), "goal": rng.random(200)}), graph)
    (found,) = idle_gates(table, PLACES[:2])
    assert (found.kind, found.place, found.relation) == (kind, "f.yaml:10", "prerequisite")
    assert said in found.text


def test_twenty_rows_do_not_say_that_a_gate_is_idle(made_graph: MakeGraph) -> None:
    graph = made_graph(("form", "bounds", 0.8))
    few = read_logged(pd.DataFrame({"form": np.ones(20), "goal": np.full(20, 0.5)}), graph)
    assert idle_gates(few, []) == []


def test_a_bound_that_goals_exceed_is_too_strong(made_graph: MakeGraph) -> None:
    graph = made_graph(("form", "bounds", 1.0))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"form": rng.random(200), "goal": rng.random(200)})
    (found,) = idle_gates(read_logged(frame, graph), ["f.yaml:3"])
    assert found.kind == "broken"
    share = float((frame.goal > frame.form.astype(np.float32) + 0.1).mean())
    assert f"in {share:.0%} [" in found.text


def test_weights_whose_interval_covers_zero_rest_on_noise(graph: AuxiliaryGraph, made_rows: Make) -> None:
    table = logged(graph, made_rows(10))
    order = {name: column for column, name in enumerate(graph.nodes)}
    whole, parts = np.full((1, 4), np.nan), np.full((5, 1, 4), np.nan)
    whole[0, order["right"]], parts[:, 0, order["right"]] = 0.3, [0.29, 0.31, 0.3, 0.32, 0.28]
    whole[0, order["noise"]], parts[:, 0, order["noise"]] = 0.02, [0.03, -0.01, 0.05, 0.02, 0.01]
    found = {one.node: one for one in weights(parts, whole, table, PLACES[:3])}
    assert list(found) == ["right", "noise"]
    assert (found["right"].on_noise, found["noise"].on_noise) == (False, True)
    assert not found["right"].against
    turned = {one.node: one for one in weights(-parts, -whole, table, [])}
    assert (turned["right"].against, turned["noise"].against) == (True, False), "right indicates a high goal"
    assert (found["right"].stated, found["right"].place) == ("indicates", "f.yaml:10")
    # sqrt(4/5 sum of squares about the mean) times the 97.5% quantile of t with 4 degrees of freedom
    assert found["right"].effect.high - 0.3 == pytest.approx(2.7764 * np.sqrt(0.8 * 0.001), rel=1e-3)


def test_a_graded_gate_that_nearly_always_lowers_a_little_is_no_finding(made_graph: MakeGraph) -> None:
    graph = made_graph(("form", "prerequisite", 0.8))
    rng = np.random.default_rng(0)
    assert (
        idle_gates(read_logged(pd.DataFrame({"form": 0.9 * rng.random(300), "goal": rng.random(300)}), graph), []) == []
    )


def test_a_proposal_says_what_the_score_tells_beside_the_others() -> None:
    found = [
        Finding("relation", "a", "goal", "", "a looks like"),
        Finding("idle", "a", "goal", "bounds", "idle"),
        Finding("flip", "b", "goal", "indicates", "b looks like"),
    ]
    known = [
        Weight("goal", "a", Interval(0.01, -0.1, 0.12), True, False, ""),
        Weight("goal", "b", Interval(-0.2, -0.3, -0.1), False, False, "indicates"),
    ]
    said = [one.text for one in beside_others(found, known)]
    assert (
        said[0]
        == "a looks like; beside the other scores it changes the predicted goal by 0.010 [-0.100, 0.120]: it tells little that the others do not"
    )
    assert said[1] == "idle"
    assert said[2] == "b looks like; beside the other scores it changes the predicted goal by -0.200 [-0.300, -0.100]"
