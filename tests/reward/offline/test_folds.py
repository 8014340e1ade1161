"""Held-out rows: whole groups, only their goals hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rag_graph.config import RewardConfig
from rag_graph.evaluation.agreement import spearman
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward import GraphReward
from rag_graph.reward.offline.folds import MOST_JUDGED, Folds, curve_sizes, effects, held_out, measures
from rag_graph.reward.offline.table import LoggedTable, read_logged

Make = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def table(graph: AuxiliaryGraph, made_rows: Make) -> LoggedTable:
    return read_logged(pd.DataFrame(made_rows(100, 0.6)), graph)


def test_groups_stay_together_and_folds_have_as_many_goals(table: LoggedTable) -> None:
    folds = Folds(table, 5, 0)
    assert folds.number == 5
    for group in set(table.groups.tolist()):
        assert len(set(folds.of_row[table.groups == group].tolist())) == 1
    counts = [int((folds.labelled & (folds.of_row == fold)).sum()) for fold in range(5)]
    assert max(counts) - min(counts) <= 2
    assert sum(counts) == folds.labelled.sum()
    assert folds.goals_in_fit == folds.labelled.sum() - max(counts)


def test_too_few_groups_hold_nothing_out(graph: AuxiliaryGraph, made_rows: Make) -> None:
    three = read_logged(pd.DataFrame(made_rows(6)), graph)
    assert Folds(three, 5, 0).number == 0
    assert Folds(read_logged(pd.DataFrame(made_rows(8)), graph), 5, 0).number == 4


def test_of_a_large_table_whole_groups_are_judged(graph: AuxiliaryGraph, made_rows: Make) -> None:
    many = read_logged(pd.DataFrame(made_rows(8000)), graph)
    folds = Folds(many, 5, 0)
    judged = folds.of_row >= 0
    assert MOST_JUDGED - 2 <= judged.sum() <= MOST_JUDGED
    assert set(np.bincount(many.groups[judged]).tolist()) == {0, 2}


def test_held_out_goals_are_not_seen(graph: AuxiliaryGraph, table: LoggedTable) -> None:
    """Changing the goals of one fold changes no prediction of that fold, and those of others."""
    reward = GraphReward(graph, config=RewardConfig(readout="ridge"))
    folds = Folds(table, 5, 0)
    changed = table.scores.copy()
    mine = (folds.of_row == 2) & folds.labelled
    changed[mine, table.graph.index["goal"]] = 1 - table.goals[mine]
    other = replace(table, scores=changed)
    before, after = (held_out(reward, Folds(one, 5, 0), None) for one in (table, other))
    assert (before.rows == after.rows).all()
    of_fold = folds.of_row[before.rows] == 2
    assert np.allclose(before.said.goal[of_fold], after.said.goal[of_fold])
    assert np.allclose(before.paid[of_fold], after.paid[of_fold])
    assert not np.allclose(before.said.goal[~of_fold], after.said.goal[~of_fold])


def test_more_goals_are_learned_from(graph: AuxiliaryGraph, table: LoggedTable) -> None:
    reward = GraphReward(graph, config=RewardConfig(readout="ridge"))
    folds, steps = Folds(table, 5, 0), []
    few, many = (held_out(reward, folds, None, goals, done=lambda: steps.append(1)) for goals in (3, None))
    goal, _, groups = measures(many, table)
    assert len(groups) == len(goal) == folds.labelled.sum()
    assert spearman(many.said.goal, goal) > 0.85
    assert spearman(few.said.goal, goal) < spearman(many.said.goal, goal) - 0.03
    assert len(steps) == 10
    assert curve_sizes(15) == []
    assert curve_sizes(60) == [8, 32]


def test_pairs_are_judged_when_they_are_held_out(graph: AuxiliaryGraph) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"chosen": {"right": high, "form": 1.0}, "rejected": {"right": low, "form": 1.0}}
        for low, high in np.sort(rng.random((12, 2)), axis=1).tolist()
    ]
    table = read_logged(pd.DataFrame(rows), graph)
    found = held_out(GraphReward(graph), Folds(table, 3, 0), None)
    assert len(found.rows) == 0
    assert len(found.margins) == 12
    assert (found.margins > 0).mean() >= 0.9, "the file says that `right` indicates the goal"
    assert sorted(found.groups_of_pairs.tolist()) == list(range(12))


def test_the_effect_of_a_score(graph: AuxiliaryGraph, table: LoggedTable) -> None:
    found = held_out(
        GraphReward(graph, config=RewardConfig(readout="ridge")), Folds(table, 5, 0), None, with_effects=True
    )
    assert found.effects.shape == (5, 1, 4)
    at = {name: found.effects[:, 0, column] for column, name in enumerate(graph.nodes)}
    # goal = (.2 + .6 right)(.3 + .7 form): over the middle 80% of `right`, .48 times the mean of the gate, .65
    assert at["right"].mean() == pytest.approx(0.8 * 0.6 * 0.65, abs=0.05)
    assert abs(at["noise"].mean()) < 0.06
    assert np.isnan(at["goal"]).all()
    constant = replace(
        table, scores=np.where(np.arange(4) == graph.index["noise"], 0.5, table.scores).astype(np.float32)
    )
    assert np.isnan(effects(GraphReward(graph), constant)[0, graph.index["noise"]])
