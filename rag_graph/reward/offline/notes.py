"""What a fit says beside its numbers: notes on the table, and what its rows are too few for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rag_graph.reward.offline.findings import LEAST_BLOCKS
from rag_graph.reward.offline.fit_report import FEW_GROUPS, Score
from rag_graph.reward.offline.fitting import readout_name
from rag_graph.reward.offline.folds import LEAST_GROUPS, Folds
from rag_graph.reward.offline.table import LoggedTable
from rag_graph.reward.readouts import READOUTS

if TYPE_CHECKING:
    from rag_graph.reward.fittable import Fittable

ALIKE = 0.01
"""Rank correlations that differ by less are alike."""


def is_fitted(reward: Fittable) -> bool:
    """Whether the readout learns anything from goals beside its unit."""
    return reward.model.readout.fit != "none"


def of_rules(reward: Fittable, scores: Sequence[Score]) -> list[str]:
    """A note where the rules of the file make the reward order answers less like the goals than its own prediction does."""
    own = next((score for score in scores if score.readout == readout_name(reward)), None)
    rules = [f"{edge.source} -> {edge.target}" for edge in reward.graph.spec.edges if reward.graph.role(edge) == "rule"]
    if own is None or own.predicted is None or not rules or own.predicted.mean < own.spearman.mean + ALIKE:
        return []
    return [
        f"the rules of the file make `{own.readout}` order answers less like the goals (rank correlation {own.spearman.mean:.3f}) than its prediction does "
        f"({own.predicted.mean:.3f}). A rule says what is wanted beside the goal's own score; where that score is all that is wanted, state it as a fact: {', '.join(rules)}"
    ]


def notes_of(reward: Fittable, table: LoggedTable, compared: Sequence[str], used: int) -> list[str]:
    notes = list(table.notes)
    if used < len(table.tasks):
        notes.append(
            f"the fit uses {used:,} of {len(table.tasks):,} rows, those with a goal first; proposals and gates use all"
        )
    left = [name for name, readout in READOUTS.items() if readout.fit == "gradient" and name not in compared]
    if left:
        notes.append(f"not compared, because they take minutes: {', '.join(left)} (--readouts NAME)")
    if len(table.pairs) and reward.model.readout.fit != "gradient":
        taught = ", ".join(name for name, readout in READOUTS.items() if readout.fit == "gradient")
        notes.append(
            f"the preferences teach `{readout_name(reward)}` nothing, for its fit takes goals alone; its order of the pairs is judged by them. Those that learn "
            f"from preferences: {taught}"
        )
    if not is_fitted(reward):
        notes.append(f"`{readout_name(reward)}` takes its weights from the file, so none rests on these goals")
    for node, share in observed_of(table).items():
        if share == 0:
            notes.append(f"'{node}' is observed in no row")
    for name in table.graph.spec.tasks:
        goals = table.goals[table.tasks == table.graph.index[name]]
        goals = goals[~np.isnan(goals)]
        if len(goals) > 1 and np.ptp(goals) == 0:
            notes.append(
                f"the goal '{name}' is {goals[0]:g} in all {len(goals)} rows that have it: nothing can be learned of it"
            )
    return notes


def cannot_know(table: LoggedTable, dealt: Folds, sizes: Sequence[int], blocks: int) -> list[str]:
    """What the rows are too few for. sizes: of the learning curve; blocks: of evidence."""
    found = []
    goals = int(dealt.labelled.sum())
    if not dealt.number:
        found.append(
            f"how well any readout orders new answers: {dealt.groups} groups have a goal or a pair, and {LEAST_GROUPS} are needed to hold some out"
        )
    elif dealt.groups < FEW_GROUPS:
        found.append(
            f"intervals are rough: only {dealt.groups} groups have a goal or a pair; below {FEW_GROUPS} they are too narrow at times"
        )
    if dealt.number and not sizes:
        found.append(f"a learning curve: {goals} goals are too few to leave some out")
    if not blocks:
        found.append(
            f"whether relations of the file are wrong or missing: that takes {LEAST_BLOCKS} blocks of 8 rows of whole groups at least"
        )
    return found


def goals_of(table: LoggedTable) -> dict[str, int]:
    """Task -> its observed goals."""
    known = ~np.isnan(table.goals)
    return {name: int((known & (table.tasks == table.graph.index[name])).sum()) for name in table.graph.spec.tasks}


def observed_of(table: LoggedTable) -> dict[str, float]:
    """Node -> share of the rows that it bears on in which it was observed."""
    graph, found = table.graph, {}
    for column, node in enumerate(graph.nodes):
        bears = [graph.index[task] for task in graph.spec.tasks if graph.applies(node, task)]
        rows = np.isin(table.tasks, bears)
        if rows.any():
            found[node] = float((~np.isnan(table.scores[rows, column])).mean())
    return found
