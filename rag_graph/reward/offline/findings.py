"""What a table says about the graph: relations that look wrong or missing, gates that do nothing, weights that rest on noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_graph.evaluation.example_intervals import example_mean
from rag_graph.evaluation.statistics import LEVEL, Interval
from rag_graph.reward.graph_tensors import FACT_SIGNS
from rag_graph.reward.offline.fitting import batch_of_rows
from rag_graph.reward.offline.table import LoggedTable

if TYPE_CHECKING:
    from rag_graph.reward.fittable import Fittable

MOST_BLOCKS = 40
"""Blocks of whole groups in which evidence is gathered: each stands for what an update is in a run."""
BLOCK_ROWS = 8
LEAST_BLOCKS = 10
"""With fewer, nothing is proposed: how far evidence varies is not known."""
BINDS = 0.95
"""A gate below this binds."""
IDLE = 0.05
"""A gate that surely binds, or differs from its usual value, in less than this share of the rows does nothing."""
ALIKE = 0.05
"""Gates that differ by less are alike."""
ABOVE = 0.1
"""By so much a goal has to be above its bound to contradict it."""
MOST_ROWS = 5000
"""Rows that the share of a gate is taken from."""


@dataclass(frozen=True)
class Finding:
    """Something about the graph that a person should look at.

    kind: 'flip', 'relation', 'gate', 'contained' (proposals); 'idle', 'closed', 'unseen', 'broken' (gates and bounds).
    place: `file:line` of the relation; empty where the graph came from no file.
    """

    kind: str
    source: str
    target: str
    relation: str
    text: str
    place: str = ""


@dataclass(frozen=True)
class Weight:
    """What a score does to the predicted goal, all else as it is, as it goes from its 10% to its 90% quantile, or from its lowest to its highest
    value where these are the same.

    effect: with an interval by leaving out one fold after the other; on_noise: whether it covers 0; against: whether it is surely of the other sign than a
    fact of the file says; stated: the relations of the file between the two.
    """

    task: str
    node: str
    effect: Interval
    on_noise: bool
    against: bool
    stated: str
    place: str = ""


def gather_evidence(reward: Fittable, table: LoggedTable) -> int:
    """Show every row once to what watches the relations of the graph, in blocks of whole groups; returns the number of blocks."""
    groups = int(table.groups.max()) + 1
    number = min(MOST_BLOCKS, groups, len(table.groups) // BLOCK_ROWS)
    if number < LEAST_BLOCKS:
        return 0
    block = (np.random.default_rng(0).permutation(groups) % number)[table.groups]
    for one in range(number):
        scores, _, _ = batch_of_rows(table, np.flatnonzero(block == one), reward.learning.memory.text_size)
        reward.model.contained.update(scores)
        reward.model.learner.evidence(scores)
    return number


def proposals(reward: Fittable, places: Sequence[str]) -> list[Finding]:
    """The proposals of a reward that has seen the evidence, with their places."""
    edges = reward.graph.spec.edges
    lines = {(e.source, e.target, e.relation): place for e, place in zip(edges, places, strict=True)} if places else {}
    below = f"add below {places[-1]}" if places else ""
    return [
        Finding(one.kind, one.source, one.target, one.stated, str(one), lines.get((one.source, one.target, one.stated), below))
        for one in reward.proposals()
    ]  # fmt: skip


def idle_gates(table: LoggedTable, places: Sequence[str]) -> list[Finding]:
    """Prerequisites and bounds that are nearly never or nearly always closed in these rows, or that the goals contradict."""
    graph, found = table.graph, []
    gates = {int(edge): meaning for meaning in ("gate", "bound") for edge in graph.edges_of(meaning)}
    for index, meaning in sorted(gates.items()):
        edge = graph.spec.edges[index]
        text = _gate(table, edge.source, edge.target, edge.strength, meaning)
        if text is not None:
            kind, said = text
            found.append(Finding(kind, edge.source, edge.target, edge.relation, said, places[index] if places else ""))
    return found


def _gate(table: LoggedTable, source: str, target: str, strength: float, meaning: str) -> tuple[str, str] | None:
    graph = table.graph
    of_target = table.tasks == graph.index[target] if target in graph.spec.tasks else np.ones(len(table.tasks), bool)
    values = table.scores[:, graph.index[source]]
    rows = np.flatnonzero(of_target & ~np.isnan(values))
    name = f"{source} -> {target} ({'prerequisite' if meaning == 'gate' else 'bound'})"
    if not of_target.any() or strength == 0:
        return None
    if not len(rows):
        return "unseen", f"{name}: '{source}' is observed in no row of it, so nothing is known about this relation"
    rows = np.random.default_rng(0).permutation(rows)[:MOST_ROWS]
    factor = 1 - strength * (1 - values[rows])
    units = table.groups[rows].tolist()
    binds = factor < BINDS
    share = example_mean(binds.astype(float).tolist(), units)
    if share.high < IDLE:
        return "idle", (
            f"{name} lowers {binds.sum():,} of {len(rows):,} rows, {share.high:.1%} at most: it does nothing in answers like these"
        )
    usual = float(np.median(factor))
    apart = np.abs(factor - usual) > ALIKE
    if usual < BINDS and example_mean(apart.astype(float).tolist(), units).high < IDLE:
        return "closed", (
            f"{name} is about {usual:.2f} in all but {apart.sum():,} of {len(rows):,} rows: it does not tell them apart"
        )
    goals = table.scores[rows, graph.index[target]]
    known = ~np.isnan(goals)
    if meaning == "bound" and known.any():
        over = goals[known] > factor[known] + ABOVE
        share = example_mean(over.astype(float).tolist(), [u for u, k in zip(units, known, strict=True) if k])
        if share.low > IDLE:
            return "broken", (
                f"{name}: the goal is above the bound by more than {ABOVE:g} in {share.mean:.0%} [{share.low:.0%}, {share.high:.0%}] of "
                f"{known.sum():,} rows: the bound is too strong, or an indication"
            )
    return None


def beside_others(found: Sequence[Finding], known: Sequence[Weight]) -> list[Finding]:
    """Proposals of facts with what the score does to the predicted goal beside the others: a correlation may be that of another score."""
    effect = {(one.node, one.task): one for one in known}
    said = []
    for one in found:
        weight = effect.get((one.source, one.target))
        if weight is not None and one.kind in ("relation", "flip"):
            noise = ": it tells little that the others do not" if weight.on_noise else ""
            text = f"{one.text}; beside the other scores it changes the predicted goal by {weight.effect}{noise}"
            said.append(replace(one, text=text))
        else:
            said.append(one)
    return said


def weights(effects: NDArray[np.float64], whole: NDArray[np.float64], table: LoggedTable, places: Sequence[str]) -> list[Weight]:  # fmt: skip
    """What each score does to the predicted goal, with an interval.

    Args:
        effects: [folds, T, N] of the fits without one fold each; whole: [T, N] of the fit to all.
    """
    from scipy.stats import t

    graph, found = table.graph, []
    folds = len(effects)
    for row, task in enumerate(graph.spec.tasks):
        for column, node in enumerate(graph.nodes):
            value, without = whole[row, column], effects[:, row, column]
            if math.isnan(value) or np.isnan(without).any():
                continue
            error = math.sqrt((folds - 1) / folds * float(((without - without.mean()) ** 2).sum()))
            reach = float(t.ppf(1 - LEVEL / 2, folds - 1)) * error
            edges = [e for e, edge in enumerate(graph.spec.edges) if (edge.source, edge.target) == (node, task)]
            stated = ", ".join(graph.spec.edges[e].relation for e in edges)
            noise = bool(abs(value) <= reach or value == 0)
            place = places[edges[0]] if places and edges else ""
            signs = {FACT_SIGNS.get(graph.relation_types[graph.spec.edges[e].relation].semantics, 0.0) for e in edges}
            against = not noise and -math.copysign(1.0, value) in signs
            effect = Interval(float(value), float(value - reach), float(value + reach))
            found.append(Weight(task, node, effect, noise, against, stated, place))
    return found
