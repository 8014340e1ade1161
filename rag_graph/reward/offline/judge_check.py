"""A judge is checked before it is trusted: its scores beside the human goals of the same answers.

| number | what it is |
|---|---|
| kappa | weighted kappa of the two marks, with quadratic weights (Cohen 1968, Psychological Bulletin 70): 1 the same marks, 0 as by chance |
| rank correlation | Spearman's, within tasks |
| bias | mean of judge less human, in scores from 0 to 1 |
| bias by length | rank correlation of judge less human with the number of words of the answer; and its slope on the logarithm: what a doubling of the length adds |
| bias by position | the mean of judge less human at each position, less that elsewhere |

All have 95% intervals over groups. A judge that tells nothing apart has the biases of people, turned round: where people like long answers, it seems to like short ones. So agreement comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import ConfigError, near_miss
from rag_graph.evaluation.agreement import agreement, over_groups, spearman, spearman_within
from rag_graph.evaluation.judging import METRIC
from rag_graph.evaluation.marks import marks_of, nearest_mark
from rag_graph.evaluation.statistics import Interval
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.reward.offline.table import LoggedTable

MOST_ROWS = 20_000
"""Rows that a check uses; of more, so many are drawn."""
MOST_POSITIONS = 10
LEAST_ROWS = 4
Rows = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class PositionBias:
    """Answers that the judge saw at one position. bias: mean of judge less human; apart: that mean less the one at the other positions."""

    position: str
    rows: int
    bias: Interval
    apart: Interval


@dataclass(frozen=True)
class JudgeCheck:
    """How far a judge agrees with people.

    node: that the judge scores; goals: the tasks of its rows; rows, groups: with both scores; marks: of its scale, on which kappa counts.
    length, doubling: None where the table has no texts, or all have one length. positions: empty where the table has no column `position`, or one position.
    said: what this means, a sentence each.
    """

    node: str
    goals: tuple[str, ...]
    rows: int
    groups: int
    marks: int
    kappa: Interval
    spearman: Interval
    bias: Interval
    length: Interval | None
    doubling: Interval | None
    positions: tuple[PositionBias, ...]
    said: tuple[str, ...]


def judges_in(graph: AuxiliaryGraph, named: Sequence[str] | None) -> tuple[str, ...]:
    """The nodes to check: those that are named, else every criterion with metric judge.

    Raises:
        ConfigError: a name that is no criterion of the graph.
    """
    criteria = graph.spec.criteria
    if named is None:
        return tuple(name for name, one in criteria.items() if one.metric == METRIC)
    for name in named:
        if name in graph.spec.tasks:
            raise ConfigError(
                f"judges: '{name}' is a goal, and a judge is compared with it. Put the human goals into its column, and the judge's scores into that of a criterion."
            )
        if name not in criteria:
            raise ConfigError(
                f"judges: '{name}' is no criterion of graph '{graph.name}'.{near_miss(name, criteria)} Its criteria: {', '.join(criteria)}."
            )
    return tuple(dict.fromkeys(named))


def check_judges(table: LoggedTable, judges: Collection[str]) -> tuple[list[JudgeCheck], list[str]]:
    """(a check of each judge; a note for each that cannot be checked)."""
    found, notes = [], []
    for node in judges:
        both = ~np.isnan(table.scores[:, table.graph.index[node]]) & ~np.isnan(table.goals)
        if both.sum() < LEAST_ROWS:
            notes.append(
                f"judge '{node}': {both.sum()} rows have both its score and a human goal, and {LEAST_ROWS} are needed to say how far they agree"
            )
            continue
        found.append(_check(table, node, np.flatnonzero(both)))
    return found, notes


def _check(table: LoggedTable, node: str, rows: NDArray[np.intp]) -> JudgeCheck:
    graph = table.graph
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
    judge = table.scores[rows, graph.index[node]].astype(np.float64)
    human = table.goals[rows].astype(np.float64)
    tasks, groups = table.tasks[rows], table.groups[rows]
    low, high = _scale(graph.spec.criteria[node].args)
    apart = judge - human
    length, doubling = _by_length(apart, table.words[rows], groups)
    numbers: dict[str, Any] = {
        "node": node,
        "goals": tuple(name for name in graph.spec.tasks if (tasks == graph.index[name]).any()),
        "rows": len(rows),
        "groups": len(set(groups.tolist())),
        "marks": len(marks_of(low, high)),
        "kappa": _kappa(
            nearest_mark(judge, low, high), nearest_mark(human, low, high), len(marks_of(low, high)), groups
        ),
        "spearman": agreement(spearman_within, judge, human, tasks, groups),
        "bias": over_groups(lambda kept: float(apart[kept].mean()), groups, -1.0, 1.0),
        "length": length,
        "doubling": doubling,
        "positions": _by_position(apart, [table.positions[row] for row in rows], groups),
    }
    return JudgeCheck(**numbers, said=_in_words(numbers, has_texts=bool((~np.isnan(table.words[rows])).any())))


def _scale(args: Mapping[str, Any]) -> tuple[float, float]:
    low, high = args.get("scale", (1, 5))
    return float(low), float(high)


def _kappa(judge: NDArray[np.int64], human: NDArray[np.int64], marks: int, groups: NDArray[np.int64]) -> Interval:
    from sklearn.metrics import cohen_kappa_score

    def kappa(kept: Rows) -> float:
        one, two = judge[kept], human[kept]
        if len(set(one.tolist()) | set(two.tolist())) < 2:
            return float("nan")  # one mark everywhere: chance agrees as well
        return float(cohen_kappa_score(one, two, labels=range(marks), weights="quadratic"))

    return over_groups(kappa, groups, -1.0, 1.0)


def _by_length(apart: Values, words: Values, groups: NDArray[np.int64]) -> tuple[Interval | None, Interval | None]:
    known = ~np.isnan(words)
    apart, groups = apart[known], groups[known]
    doublings = np.log2(np.maximum(words[known], 1.0))
    if known.sum() < LEAST_ROWS or np.ptp(doublings) == 0:
        return None, None

    def slope(kept: Rows) -> float:
        x = doublings[kept] - doublings[kept].mean()
        spread = float(x @ x)
        return float(x @ apart[kept]) / spread if spread > 0 else float("nan")

    length = over_groups(lambda kept: spearman(apart[kept], doublings[kept]), groups, -1.0, 1.0)
    return length, over_groups(slope, groups, -np.inf, np.inf)


def _by_position(apart: Values, positions: Sequence[str | None], groups: NDArray[np.int64]) -> tuple[PositionBias, ...]:
    names = [name for name in positions if name is not None]
    most = sorted(set(names), key=lambda name: (-names.count(name), name))[:MOST_POSITIONS]
    if len(set(names)) < 2:
        return ()
    known = np.array([name is not None for name in positions])
    here = np.array(names)
    apart, groups = apart[known], groups[known]
    found = []
    comparisons = len(most) if len(set(names)) > 2 else 1
    for name in sorted(most, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)):
        mine = here == name

        def gap(kept: Rows, mine: Rows = mine) -> float:
            inside, outside = apart[kept & mine], apart[kept & ~mine]
            return float(inside.mean() - outside.mean()) if len(inside) and len(outside) else float("nan")

        of_mine, in_groups = apart[mine], groups[mine]
        bias = over_groups(lambda kept, values=of_mine: float(values[kept].mean()), in_groups, -1.0, 1.0)  # type: ignore[misc]
        found.append(PositionBias(name, int(mine.sum()), bias, over_groups(gap, groups, -2.0, 2.0, comparisons)))
    return tuple(found)


def _in_words(found: Mapping[str, Any], has_texts: bool) -> tuple[str, ...]:
    node, rank = found["node"], found["spearman"]
    goals = " and ".join(f"'{name}'" for name in found["goals"])
    known = sign(rank)
    order = {1: "orders answers as people do, beyond chance", -1: "orders answers against people, beyond chance", 0: "does not order answers as people do, as far as these rows can say"}  # fmt: skip
    said = [
        f"'{node}' against {goals}, {found['rows']:,} answers: it {order[known]}: rank correlation {shown(rank)}, kappa on {found['marks']} marks {shown(found['kappa'])}"
    ]
    mean = {
        1: "it marks higher than people",
        -1: "it marks lower than people",
        0: "its mean is that of people, as far as these rows can say",
    }
    said.append(f"{mean[sign(found['bias'])]}: {shown(found['bias'], True)} on a scale from 0 to 1")
    if found["doubling"] is not None:
        long = {1: "it marks long answers higher", -1: "it marks long answers lower", 0: "the length of an answer changes nothing, as far as these rows can say"}  # fmt: skip
        said.append(
            f"{long[sign(found['doubling'])]}{' than people do' if sign(found['doubling']) else ''}: {shown(found['doubling'], True)} a doubling of the length; "
            f"rank correlation of judge less human with the number of words {shown(found['length'], True)}"
        )
    else:
        why = "all answers have one length" if has_texts else "no column 'response' holds the texts"
        said.append(f"bias by length is not known: {why}")
    for one in found["positions"]:
        if sign(one.apart):
            more = "higher" if one.apart.mean > 0 else "lower"
            said.append(f"it marks answers at position {one.position} {more} than elsewhere: {shown(one.apart, True)}")
    if not found["positions"]:
        said.append("bias by position is not known: no column 'position' has two values")
    elif not any(sign(one.apart) for one in found["positions"]):
        said.append("the position changes nothing, as far as these rows can say")
    if known != 1:
        said.append(
            "a judge that tells little apart mirrors what people prefer, turned round: read its biases only once it agrees"
        )
    return tuple(said)


def sign(value: Interval) -> int:
    """1 or -1 where the interval is on one side of 0, else 0."""
    return int(value.low > 0) - int(value.high < 0)


def shown(value: Interval, signed: bool = False) -> str:
    """Mean and interval, two digits."""
    form = "+.2f" if signed else ".2f"
    if np.isnan(value.mean):
        return "not known"
    if np.isnan(value.low):
        return f"{value.mean:{form}} [not known]"
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"
