"""`GraphReward.fit` and `.predict`: cross-validate the readouts, fit the reward to the table, and say what came out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.evaluation.agreement import agreement, difference, pairs_within, spearman_within
from rag_graph.evaluation.example_intervals import example_mean
from rag_graph.evaluation.statistics import Interval
from rag_graph.reward.offline.findings import (
    beside_others,
    gather_evidence,
    idle_gates,
    proposals,
    weights,
)
from rag_graph.reward.offline.fit_report import SIMPLEST_FIRST, Bin, CurvePoint, FitReport, Score, judge
from rag_graph.reward.offline.fitting import batch_of_rows, fit_to, fresh, readout_name, rows_of_fit, say, teach_pairs
from rag_graph.reward.offline.folds import Folds, HeldOut, curve_sizes, effects, held_out, measures
from rag_graph.reward.offline.judge_check import check_judges, judges_in
from rag_graph.reward.offline.notes import ALIKE, cannot_know, goals_of, is_fitted, notes_of, observed_of, of_rules
from rag_graph.reward.offline.progress import ShowsProgress
from rag_graph.reward.offline.rows import Reading
from rag_graph.reward.offline.table import LoggedTable, read_logged
from rag_graph.reward.readouts import READOUTS

if TYPE_CHECKING:
    import pandas

    from rag_graph.reward.fittable import Fittable

CLOSED = tuple(name for name in SIMPLEST_FIRST if READOUTS[name].fit != "gradient" and name not in ("goal_only", "random"))  # fmt: skip
"""The readouts that a fit compares: those that fit in closed form. Networks take minutes and are named where they are wanted."""
MOST_BINS, BIN_ROWS = 10, 8


def fit_reward(
    reward: Fittable,
    table: str | Path | pandas.DataFrame,
    readouts: Sequence[str] | None,
    folds: int,
    judges: Sequence[str] | None,
    places: Sequence[str],
    progress: ShowsProgress,
    how: Reading,
) -> FitReport:
    """See `GraphReward.fit`. places: `file:line` of each relation, or none."""
    started = time.perf_counter()
    compared = _compared(reward, readouts)
    checked = judges_in(reward.graph, judges)
    if folds < 2:
        raise ConfigError(f"folds: {folds} is too few; 2 or more parts are held out in turn.")
    progress.stage("reading", 1)
    logged = read_logged(table, reward.graph, how)
    progress.advance()
    _check_goals(logged)
    dealt = Folds(logged, folds, reward.seed)
    sizes = curve_sizes(dealt.goals_in_fit) if dealt.number else []
    if dealt.number:
        progress.stage("cross-validation", dealt.number * len(compared) * (1 + len(sizes)))
    found, curve = _cross_validate(reward, dealt, compared, sizes, progress)
    scores = _scores(found, logged)
    progress.stage("fit", 1)
    used, blocks = _fit(reward, logged)
    progress.advance()
    goals = int(dealt.labelled.sum())
    best, simplest, worth, verdict = judge(scores, goals, len(logged.pairs))
    own = next((one for one, _ in found if one.readout == readout_name(reward)), None)
    agreements, unchecked = check_judges(logged, checked)
    told = weights(own.effects, effects(reward, logged), logged, places) if own is not None and len(own.effects) else []
    return FitReport(
        graph=reward.graph.name,
        readout=readout_name(reward),
        rows=len(logged.tasks),
        used=used,
        groups=len(set(logged.groups.tolist())),
        grouped_by=logged.grouped_by,
        pairs=len(logged.pairs),
        folds=dealt.number,
        goals=goals_of(logged),
        observed=observed_of(logged),
        scores=scores,
        curve=curve,
        calibration=_calibration(own, logged) if own and is_fitted(reward) else (),
        best=best,
        simplest=simplest,
        worth_using=worth,
        verdict=verdict,
        proposals=tuple(beside_others(proposals(reward, places), told)),
        gates=tuple(idle_gates(logged, places)),
        weights=tuple(told),
        notes=(*of_rules(reward, scores), *notes_of(reward, logged, compared, used), *unchecked),
        cannot_know=tuple(cannot_know(logged, dealt, sizes, blocks)),
        seconds=round(time.perf_counter() - started, 2),
        judges=tuple(agreements),
    )


def _compared(reward: Fittable, readouts: Sequence[str] | None) -> list[str]:
    """The readouts to compare, the simplest first; the reward's own among them."""
    named = list(CLOSED if readouts is None else readouts)
    for name in named:
        if name not in READOUTS:
            raise ConfigError(f"readouts: '{name}' is none.{near_miss(name, READOUTS)} Known: {', '.join(READOUTS)}.")
    order = {name: place for place, name in enumerate(SIMPLEST_FIRST)}
    return sorted({*named, readout_name(reward)}, key=lambda name: order.get(name, 99))


def _check_goals(table: LoggedTable) -> None:
    tasks = [name for name, task in table.graph.spec.tasks.items() if task.goal > 0]
    goals = goals_of(table)
    if not any(goals.get(name) for name in tasks) and not len(table.pairs):
        named = " or ".join(f"'{name}'" for name in tasks)
        raise DataError(
            f"the goal {named} is observed in no row, and there is no preference pair: there is nothing to fit to. Give some rows a number in a column "
            "of that name."
        )


def _cross_validate(
    reward: Fittable, dealt: Folds, compared: Sequence[str], sizes: Sequence[int], progress: ShowsProgress
) -> tuple[list[tuple[HeldOut, float]], tuple[CurvePoint, ...]]:
    if not dealt.number:
        return [], ()
    found, curve, most = [], [], dealt.goals_in_fit
    for name in compared:
        own = name == readout_name(reward)
        readout = None if own else name
        started = time.perf_counter()
        with_effects = own and is_fitted(reward)
        one = held_out(reward, dealt, readout, None, with_effects, progress.advance)
        found.append((one, time.perf_counter() - started))
        for size in sizes:
            few = held_out(reward, dealt, readout, size, done=progress.advance)
            curve.append(CurvePoint(name, size, _agreement(few, dealt.table)))
        if sizes:
            curve.append(CurvePoint(name, most, _agreement(one, dealt.table)))
    return found, tuple(curve)


def _agreement(found: HeldOut, table: LoggedTable) -> Interval:
    goal, tasks, groups = measures(found, table)
    return agreement(spearman_within, found.paid, goal, tasks, groups)


def _scores(found: Sequence[tuple[HeldOut, float]], table: LoggedTable) -> tuple[Score, ...]:
    made = []
    for one, seconds in found:
        goal, tasks, groups = measures(one, table)
        apart = None
        if one is not found[0][0]:
            first = found[0][0]
            apart = difference(spearman_within, one.paid, first.paid, goal, tasks, groups, len(found) - 1)
        preferred = covered = None
        if len(one.margins):
            right = np.where(one.margins > 0, 1.0, np.where(one.margins == 0, 0.5, 0.0))
            preferred = example_mean(right.tolist(), one.groups_of_pairs.tolist())
        said = one.said
        if len(goal) and not np.isnan(said.low).any():
            inside = (said.low - 1e-6 <= goal) & (goal <= said.high + 1e-6)
            covered = example_mean(inside.astype(float).tolist(), groups.tolist())
        made.append(
            Score(
                one.readout,
                agreement(spearman_within, one.paid, goal, tasks, groups),
                agreement(pairs_within, one.paid, goal, tasks, groups),
                preferred,
                covered,
                apart,
                round(seconds, 2),
                _predicted(one, table),
            )
        )
    return tuple(made)


def _predicted(found: HeldOut, table: LoggedTable) -> Interval | None:
    """Rank correlation of the predicted goal, where it orders otherwise than the reward."""
    goal, tasks, groups = measures(found, table)
    ours, paid = (spearman_within(values, goal, tasks) for values in (found.said.goal, found.paid))
    fitted = READOUTS[found.readout].fit != "none" if found.readout in READOUTS else True
    if not fitted or not len(goal) or abs(ours - paid) < ALIKE:
        return None
    return agreement(spearman_within, found.said.goal, goal, tasks, groups)


def _calibration(found: HeldOut, table: LoggedTable) -> tuple[Bin, ...]:
    """Held-out rows by predicted goal, in bins of like size; a bin of one group has no interval."""
    goal, _, groups = measures(found, table)
    number = min(MOST_BINS, len(goal) // BIN_ROWS)
    if number < 2:
        return ()
    bins = []
    for rows in np.array_split(np.argsort(found.said.goal, kind="stable"), number):
        bins.append(Bin(float(found.said.goal[rows].mean()), example_mean(goal[rows].tolist(), groups[rows].tolist()), len(rows)))  # fmt: skip
    return tuple(bins)


def _fit(reward: Fittable, table: LoggedTable) -> tuple[int, int]:
    """The reward learns from the table, as if it had learned nothing before. Returns (rows of the fit, blocks of evidence)."""
    reward.load_state_dict(fresh(reward).state_dict())
    rows = rows_of_fit(table, ~np.isnan(table.goals), reward.seed)
    if reward.model.readout.fit == "gradient":
        teach_pairs(reward, table, table.pairs)
    fit_to(reward, batch_of_rows(table, rows, reward.learning.memory.text_size))
    return len(rows), gather_evidence(reward, table)


def predict_table(
    reward: Fittable, table: str | Path | pandas.DataFrame, level: float, how: Reading
) -> pandas.DataFrame:
    """See `GraphReward.predict`."""
    import pandas

    if not 0 < level < 1:
        raise ConfigError(f"level: {level:g} is no probability between 0 and 1.")
    logged = read_logged(table, reward.graph, how)
    said = say(reward, logged, np.arange(len(logged.tasks)), level, hide=False)
    index = logged.rows if isinstance(table, str | Path) else table.index[logged.rows]
    columns: dict[str, NDArray[np.float64]] = {
        "reward": said.paid,
        "goal": said.goal,
        "goal_low": said.low,
        "goal_high": said.high,
    }
    bears = np.array(
        [[reward.graph.applies(node, task) for node in reward.graph.nodes] for task in reward.graph.spec.tasks]
    )
    order = {reward.graph.index[task]: row for row, task in enumerate(reward.graph.spec.tasks)}
    mine = bears[[order[task] for task in logged.tasks.tolist()]] & ~logged.absent
    for column, node in enumerate(reward.graph.nodes):
        if reward.graph.kinds[node] != "context":
            columns[f"scores.{node}"] = np.where(mine[:, column], said.filled[:, column], np.nan)
    return pandas.DataFrame(columns, index=index)
