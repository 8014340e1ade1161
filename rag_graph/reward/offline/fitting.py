"""A reward fitted to a table at once, and what it says of rows whose goals are hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rag_graph.reward.batch import Batch
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.memory import EPISODES
from rag_graph.reward.offline.table import LoggedTable
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.scores import ABSENT, Scores

if TYPE_CHECKING:
    from rag_graph.reward.fittable import Fittable

Rows = NDArray[np.int64]
OWN = "own"
"""Name of a readout that is a user's own."""
MOST_WITH_GOAL = 3 * EPISODES // 4
"""Rows with a goal in a fit at most; the other places are for rows without, which teach how the criteria go together."""
EPOCHS = 15
"""Fits of a readout that learns by gradient, each of `fit_steps` steps: about as many episodes as a run would show it."""
CHUNK = 4096
"""Rows that are predicted at once."""


class Said(NamedTuple):
    """What a reward says of n rows."""

    paid: NDArray[np.float64]  # [n] NaN where nothing that pays was observed
    goal: NDArray[np.float64]  # [n] expected from the other scores, its own hidden
    low: NDArray[np.float64]  # [n] interval of the goal; NaN where the readout knows none
    high: NDArray[np.float64]
    filled: NDArray[np.float64]  # [n, N] observed or filled in


def batch_of_rows(table: LoggedTable, rows: Rows, text_size: int, hidden: NDArray[np.bool_] | None = None) -> Batch:
    """Rows as tensors, nothing retrieved.

    Args:
        hidden: bool [n of the table], rows whose goal is not shown.
    """
    values = torch.from_numpy(table.scores[rows])
    tasks = torch.from_numpy(table.tasks[rows])
    if hidden is not None:
        values = values.clone()
        at = torch.from_numpy(np.flatnonzero(hidden[rows]))
        values[at, tasks[at]] = torch.nan
    observed = ~values.isnan()
    filled = torch.where(torch.from_numpy(table.absent[rows]), ABSENT, values.nan_to_num(0.0))
    scores = Scores(filled, observed, torch.zeros_like(values), tasks)
    return Batch(scores, nothing_retrieved(text_size))


def nothing_retrieved(text_size: int) -> Contexts:
    return Contexts(torch.zeros(0, text_size), torch.zeros(0, dtype=torch.long), torch.zeros(0))


def fresh(reward: Fittable, readout: str | None = None) -> Fittable:
    """A reward that has learned nothing, like another one; with another readout if one is named."""
    if readout is None:
        return reward.fresh(reward.config, reward.model.readout)
    return reward.fresh(reward.config.model_copy(update={"readout": readout}))


def readout_name(reward: Fittable) -> str:
    """The name of a reward's readout; 'own' for one that is in no list."""
    name = reward.config.readout
    return name if reward.model.readout is READOUTS[name] else OWN


def rows_of_fit(table: LoggedTable, shown: NDArray[np.bool_], seed: int) -> Rows:
    """The rows that a fit takes: all, or at most EPISODES drawn at random, those whose goal is shown first. They are ordered so that the reward, which
    forgets the oldest, forgets rows without a goal first.

    Args:
        shown: bool [n], rows whose goal is observed and not held out.
    """
    order = np.random.default_rng(seed).permutation(
        len(shown)
    )  # the same for all folds, so that their fits differ by the fold alone
    with_goal, without = order[shown[order]], order[~shown[order]]
    with_goal = with_goal[: max(MOST_WITH_GOAL, EPISODES - len(without))]
    return np.concatenate([without[: EPISODES - len(with_goal)], with_goal])


def fit_to(reward: Fittable, batch: Batch) -> None:
    """Fit a reward that has learned nothing to a batch, all at once: statistics, memory, imputer, and the unit of what is paid."""
    model, learning = reward.model, reward.learning
    with torch.no_grad():
        model.imputer.observe(batch.scores)
    learning.memory.add(batch, learning.generator)
    for _ in range(EPOCHS if model.readout.fit == "gradient" else 1):
        learning.fit()
    model.settle(batch.scores, batch.contexts, reward.auxiliary)


def teach_pairs(reward: Fittable, table: LoggedTable, pairs: NDArray[np.int64]) -> None:
    """Put preference pairs into a reward whose imputer learns by gradient; the fits that follow learn from them. pairs: [P, 2]."""
    size = reward.learning.memory.text_size
    for better, worse in pairs[-EPISODES:]:
        one, other = (batch_of_rows(table, np.array([row]), size) for row in (better, worse))
        reward.learning.memory.add_pair(one, other)


@torch.no_grad()
def say(reward: Fittable, table: LoggedTable, rows: Rows, level: float, hide: bool) -> Said:
    """What a reward says of rows.

    Args:
        level: probability with which the interval covers the goal, in (0, 1).
        hide: pay without the goal, and without what compares with its reference.
    """
    parts = []
    model, size = reward.model, reward.learning.memory.text_size
    for start in range(0, max(len(rows), 1), CHUNK):
        scores, contexts, _ = batch_of_rows(table, rows[start : start + CHUNK], size)
        shown = scores.without_goal(model.topology.reads_references) if hide else scores
        paid = model(shown, reward.auxiliary, contexts)
        counts = paid.paid & (paid.weights != 0).any(-1)
        total = torch.where(counts, paid.total, torch.nan)
        parts.append((total, *model.goal_interval(scores, level, contexts), paid.scores))
    return Said(*(torch.cat(column).double().numpy() for column in zip(*parts, strict=True)))
