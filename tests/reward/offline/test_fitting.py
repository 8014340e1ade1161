"""A reward is fitted to a table at once; rows beyond what it remembers are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode, Example
from rag_graph.reward import GraphReward
from rag_graph.reward.memory import EPISODES
from rag_graph.reward.offline import fitting
from rag_graph.reward.offline.fitting import (
    MOST_WITH_GOAL,
    batch_of_rows,
    fit_to,
    fresh,
    readout_name,
    rows_of_fit,
    say,
    teach_pairs,
)
from rag_graph.reward.offline.table import LoggedTable, read_logged

Make = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def table(graph: AuxiliaryGraph, made_rows: Make) -> LoggedTable:
    return read_logged(pd.DataFrame(made_rows(80, 0.5)), graph)


@pytest.mark.parametrize("readout", ["expected_goal", "ridge", "flat"])
def test_a_fit_is_one_update_of_the_same_episodes(graph: AuxiliaryGraph, table: LoggedTable, readout: str) -> None:
    """What `learn` does with scored episodes, `fit_to` does with a table: the same statistics and the same pay."""
    config = RewardConfig(readout=readout, reserved=0.0)  # type: ignore[arg-type]
    learned, fitted = GraphReward(graph, config=config), GraphReward(graph, config=config)
    episodes = []
    for row, values in enumerate(table.scores):
        scores = {name: float(value) for name, value in zip(graph.nodes, values, strict=True) if value == value}
        episodes.append(Episode(str(row), Example(str(row), "goal", {"input": ""}), "", "", scores=scores))
    learned.learn(learned.pay(episodes))
    rows = np.arange(80)
    fit_to(fitted, batch_of_rows(table, rows, fitted.learning.memory.text_size))
    total = learned.node_rewards(episodes).total()
    assert torch.allclose(
        total, torch.from_numpy(say(fitted, table, rows, 0.8, hide=False).paid).float(), equal_nan=True
    )


def test_a_hidden_goal_is_not_in_the_batch_and_nothing_else_is_hidden(table: LoggedTable) -> None:
    hidden = np.zeros(80, bool)
    hidden[:10] = True
    scores, _, _ = batch_of_rows(table, np.arange(20), 4, hidden)
    goal = table.graph.index["goal"]
    assert not scores.observed[:10, goal].any()
    assert (scores.observed[10:, goal].numpy() == ~np.isnan(table.goals[10:20])).all()
    assert scores.observed[:, [table.graph.index[name] for name in ("right", "form", "noise")]].all()
    assert not np.isnan(table.goals[:10]).all(), "the table itself is as before"


def test_rows_of_a_large_table_are_drawn_those_with_a_goal_first(table: LoggedTable) -> None:
    shown = np.zeros(10_000, bool)
    shown[:100] = True
    rows = rows_of_fit(table, shown, 0)
    assert len(rows) == len(set(rows.tolist())) == EPISODES
    assert sorted(rows[-100:].tolist()) == list(range(100)), "all goals, last, for the oldest are forgotten first"
    shown[:6000] = True
    rows = rows_of_fit(table, shown, 0)
    assert (len(rows), shown[rows].sum()) == (EPISODES, MOST_WITH_GOAL)
    assert shown[rows_of_fit(table, np.ones(10_000, bool), 0)].shape == (EPISODES,)
    assert sorted(rows_of_fit(table, np.ones(30, bool), 0).tolist()) == list(range(30))


def test_a_fresh_reward_has_learned_nothing_and_pays_alike(graph: AuxiliaryGraph, table: LoggedTable) -> None:
    reward = GraphReward(graph, config=RewardConfig(readout="ridge"), seed=5)
    fit_to(reward, batch_of_rows(table, np.arange(80), reward.learning.memory.text_size))
    new, other = fresh(reward), fresh(reward, "flat")
    assert (len(reward.learning.memory), len(new.learning.memory)) == (80, 0)
    assert (readout_name(new), readout_name(other), new.seed) == ("ridge", "flat", 5)
    own = GraphReward(graph, readout=lambda filled, graph, tasks: filled)
    assert readout_name(own) == readout_name(fresh(own)) == "own"


def test_pairs_teach_a_readout_that_learns_by_gradient(graph: AuxiliaryGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """No goal at all: the answers with the higher `noise` were preferred. Predictions beyond [0, 1] are clipped, so pairs may tie."""
    monkeypatch.setattr(fitting, "EPOCHS", 6)
    rng = np.random.default_rng(0)
    rows = []
    for low, high in np.sort(rng.random((60, 2)), axis=1).tolist():
        same = float(rng.random())
        rows.append({"chosen": {"noise": high, "right": same}, "rejected": {"noise": low, "right": same}})
    table = read_logged(pd.DataFrame(rows), graph)
    told, untold = (GraphReward(graph, config=RewardConfig(readout="mlp")) for _ in range(2))
    teach_pairs(told, table, table.pairs)
    right, wrong = [], []
    for reward in (told, untold):
        fit_to(reward, batch_of_rows(table, np.arange(120), reward.learning.memory.text_size))
        goal = say(reward, table, np.arange(120), 0.8, hide=True).goal
        right.append(float((goal[table.pairs[:, 0]] > goal[table.pairs[:, 1]]).mean()))
        wrong.append(float((goal[table.pairs[:, 0]] < goal[table.pairs[:, 1]]).mean()))
    assert right[0] > 0.5
    assert wrong[0] < 0.1
    assert right[1] == wrong[1] == 0, "without goals and without preferences all goals look alike"
