"""Cross-validation by group: the goals of held-out rows are hidden, and nothing else of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from rag_graph.reward.offline.fitting import (
    Rows,
    Said,
    batch_of_rows,
    fit_to,
    fresh,
    readout_name,
    rows_of_fit,
    say,
    teach_pairs,
)
from rag_graph.reward.offline.table import LoggedTable

if TYPE_CHECKING:
    from rag_graph.reward.fittable import Fittable

LEAST_GROUPS = 4
"""Groups with a goal or a pair; with fewer, none is held out."""
MOST_JUDGED = 3000
"""Held-out rows with a goal, and held-out pairs, that are predicted; whole groups, drawn at random."""
LEVEL = 0.8
"""Probability with which the stated intervals should cover the goal."""
EFFECT_ROWS = 256
"""Rows over which the effect of a score is averaged."""
ENDS = (0.1, 0.9)
"""Quantiles of a score between which its effect is measured."""

Step = Callable[[], object]


class Folds:
    """Groups dealt to folds, so that each fold has about as many goals as the others.

    Attributes:
        number: of folds; 0 where too few groups have a goal or a pair.
        of_row: int64 [n], fold that a row is held out in; -1: in none, for its group has no goal and no pair, or is not judged.
    """

    def __init__(self, table: LoggedTable, folds: int, seed: int) -> None:
        self.table, self.seed = table, seed
        self.labelled = ~np.isnan(table.goals)
        in_pair = np.zeros(len(table.groups), dtype=bool)
        in_pair[table.pairs.ravel()] = True
        weight = np.bincount(table.groups, self.labelled + 0.5 * in_pair)
        draw = np.random.default_rng(seed)
        order = [group for group in draw.permutation(len(weight)).tolist() if weight[group] > 0]
        self.groups = len(order)
        self.number = min(folds, len(order)) if len(order) >= LEAST_GROUPS else 0
        of_group = np.full(len(weight), -1)
        if self.number:
            judged = np.cumsum(weight[order]) <= MOST_JUDGED
            judged[: self.number] = True
            kept = sorted(np.array(order)[judged].tolist(), key=lambda group: -weight[group])
            full = np.zeros(self.number)
            for group in kept:
                fold = int(full.argmin())
                of_group[group], full[fold] = fold, full[fold] + weight[group]
        self.of_row = of_group[table.groups]

    @property
    def goals_in_fit(self) -> int:
        """Goals that the smallest fit of the cross-validation sees."""
        held = [int((self.labelled & (self.of_row == fold)).sum()) for fold in range(self.number)]
        return int(self.labelled.sum()) - max(held, default=0)


@dataclass(frozen=True)
class HeldOut:
    """What a readout said of rows whose goal it did not see. m rows, P pairs.

    rows: int64 [m], rows of the table; said: of each; margins: [P] what the preferred answer of a judged pair was paid more; groups_of_pairs: [P].
    effects: [folds, T, N] see `effects`; empty where they were not asked for.
    """

    readout: str
    rows: Rows
    said: Said
    margins: NDArray[np.float64]
    groups_of_pairs: NDArray[np.int64]
    effects: NDArray[np.float64]

    @property
    def paid(self) -> NDArray[np.float64]:
        """[m] the reward; where nothing that pays was observed, the mean of the others: nothing is known, and the middle is fair to all."""
        paid = self.said.paid
        known = paid[~np.isnan(paid)]
        return np.where(np.isnan(paid), known.mean() if len(known) else 0.0, paid)


def held_out(
    reward: Fittable,
    folds: Folds,
    readout: str | None,
    goals: int | None = None,
    with_effects: bool = False,
    done: Step = lambda: None,
) -> HeldOut:
    """Fit a readout once a fold, and let it say what it expects of the rows of the fold.

    Args:
        readout: None: that of the reward itself.
        goals: observed goals that each fit may see, drawn at random, the smaller draw within the larger; None: all.
        done: called after each fit.
    """
    table, parts, rows, margins, effect = folds.table, [], [], [], []
    first, second = (folds.of_row[table.pairs[:, side]] for side in (0, 1))
    own = np.arange(len(table.pairs))
    chosen: list[NDArray[np.int64]] = []
    for fold in range(folds.number):
        out = folds.of_row == fold
        hidden = out.copy()
        if goals is not None:
            order = np.random.default_rng([folds.seed, fold]).permutation(np.flatnonzero(folds.labelled & ~out))
            hidden[order[goals:]] = True
        fitted = fresh(reward, readout)
        if fitted.model.readout.fit == "gradient":
            teach_pairs(fitted, table, table.pairs[(first != fold) & (second != fold)])
        taken = rows_of_fit(table, folds.labelled & ~hidden, folds.seed)
        fit_to(fitted, batch_of_rows(table, taken, fitted.learning.memory.text_size, hidden))
        mine = np.flatnonzero(out & folds.labelled)
        rows.append(mine)
        parts.append(say(fitted, table, mine, LEVEL, hide=True))
        judged = own[(first == fold) | (second == fold)]
        paid = [say(fitted, table, table.pairs[judged, side], LEVEL, hide=True).paid for side in (0, 1)]
        margins.append(np.nan_to_num(paid[0] - paid[1]))
        chosen.append(judged)
        if with_effects:
            effect.append(effects(fitted, table))
        done()
    said = Said(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    pairs = np.concatenate(chosen)
    return HeldOut(
        readout or readout_name(reward),
        np.concatenate(rows),
        said,
        np.concatenate(margins),
        table.groups[table.pairs[pairs, 0]],
        np.array(effect),
    )


@torch.no_grad()
def effects(reward: Fittable, table: LoggedTable) -> NDArray[np.float64]:
    """[T, N] what a node's score does to the predicted goal of each task: the mean change of the prediction as the score goes from the lower to the
    higher of the quantiles ENDS, all else as it is. NaN where the node does not bear on the task or does not vary."""
    tasks = [table.graph.index[task] for task in table.graph.spec.tasks]
    found = np.full((len(tasks), len(table.graph.nodes)), np.nan)
    for row, task in enumerate(tasks):
        of_task = np.flatnonzero(table.tasks == task)
        if not len(of_task) or not float(reward.model.topology.goal[task]):
            continue
        sample = np.random.default_rng(0).permutation(of_task)[:EFFECT_ROWS]
        scores, contexts, _ = batch_of_rows(table, sample, reward.learning.memory.text_size)
        for node, name in enumerate(table.graph.nodes):
            seen = table.scores[of_task, node]
            seen = seen[~np.isnan(seen)]
            if node == task or not table.graph.applies(name, table.graph.nodes[task]) or len(seen) < 2:
                continue
            ends = np.quantile(seen, ENDS) if np.ptp(np.quantile(seen, ENDS)) > 0 else (seen.min(), seen.max())
            at = []
            for end in ends:
                values, observed = scores.values.clone(), scores.observed.clone()
                values[:, node], observed[:, node] = float(end), True
                at.append(reward.model.predict_goal(scores._replace(values=values, observed=observed), contexts))
            if ends[0] < ends[1]:
                found[row, node] = float((at[1] - at[0]).mean())
    return found


def measures(found: HeldOut, table: LoggedTable) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """(goals, tasks, groups) of the held-out rows, [m] each."""
    return table.goals[found.rows].astype(np.float64), table.tasks[found.rows], table.groups[found.rows]


def curve_sizes(goals: int, most: Sequence[int] = (8, 32, 128, 512)) -> list[int]:
    """Numbers of observed goals of the learning curve, below what all folds have; empty for few goals."""
    return [size for size in most if size <= 0.75 * goals] if goals >= 16 else []
