"""Notes on a table, and what its rows are too few for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from rag_graph.config import RewardConfig
from rag_graph.graph import AuxiliaryGraph
from rag_graph.reward import GraphReward
from rag_graph.reward.offline.folds import Folds
from rag_graph.reward.offline.notes import cannot_know, goals_of, is_fitted, notes_of, observed_of
from rag_graph.reward.offline.table import LoggedTable, read_logged


@pytest.fixture
def table(graph: AuxiliaryGraph, made_rows: Callable[..., list[dict[str, Any]]]) -> LoggedTable:
    rows = made_rows(40, 0.5)
    for row in rows[:10]:
        row["scores"]["noise"] = None
    return read_logged(pd.DataFrame(rows), graph)


def test_what_was_observed_is_counted(table: LoggedTable) -> None:
    known = int((table.goals == table.goals).sum())
    assert goals_of(table) == {"goal": known}
    assert observed_of(table) == {"goal": pytest.approx(known / 40), "right": 1.0, "form": 1.0, "noise": 0.75}


def test_what_was_not_done_is_told(graph: AuxiliaryGraph, table: LoggedTable) -> None:
    reward = GraphReward(graph)
    assert is_fitted(reward)
    assert not is_fitted(GraphReward(graph, config=RewardConfig(readout="flat")))
    said = notes_of(reward, table, ["mlp", "gnn", "prior_gnn"], 30)
    assert said == ["the fit uses 30 of 40 rows, those with a goal first; proposals and gates use all"]


def test_few_rows_and_many(table: LoggedTable) -> None:
    folds = Folds(table, 5, 0)
    assert 4 <= folds.groups < 20
    assert [line.partition(":")[0] for line in cannot_know(table, folds, [8], 20)] == ["intervals are rough"]
    assert len(cannot_know(table, folds, [], 0)) == 3
