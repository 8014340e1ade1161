"""What a fit to logged answers says: which readout is worth using, how far it can be trusted, and what the graph gets wrong."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rag_graph.evaluation.statistics import Interval
from rag_graph.reward.offline.findings import Finding, Weight
from rag_graph.reward.offline.judge_check import JudgeCheck

SIMPLEST_FIRST = (
    "flat", "gated_fixed", "diffusion", "product", "soft_min", "ridge_equal", "ridge", "em_product", "boosting", "expected_goal", "mlp", "gnn",
    "prior_gnn", "random", "goal_only",
)  # fmt: skip
"""Readouts by how much there is to them."""
FEW_GROUPS = 20
"""With fewer groups, intervals are rough."""


@dataclass(frozen=True)
class Score:
    """How well a readout orders held-out answers, each with its 95% interval over groups; NaN bounds where there is none.

    spearman: rank correlation of reward and goal within tasks; predicted: rank correlation of the predicted goal instead, where the readout
    predicts one and pays something else, as rules do; pairs: share of pairs of one task ordered as the goal does; preferred: share of the
    table's preference pairs ordered rightly; covered: share of goals within the stated 80% interval; from_simplest: its rank correlation less that of
    the simplest readout, the intervals of all readouts together holding with 95%.
    """

    readout: str
    spearman: Interval
    pairs: Interval
    preferred: Interval | None
    covered: Interval | None
    from_simplest: Interval | None
    seconds: float
    predicted: Interval | None = None


@dataclass(frozen=True)
class CurvePoint:
    """Rank correlation of a readout whose fits saw so many goals."""

    readout: str
    goals: int
    spearman: Interval


@dataclass(frozen=True)
class Bin:
    """Held-out rows with a like predicted goal: their mean prediction, mean goal with its interval, and number."""

    predicted: float
    goal: Interval
    rows: int


@dataclass(frozen=True)
class FitReport:
    """The result of `GraphReward.fit`. `write_fit_report` writes it as a page; `as_dict` is its JSON.

    rows: answers; goals: task -> observed goals; observed: node -> share of the rows it bears on in which it was observed; used: rows in the final fit.
    best, simplest: readouts; worth_using: the best where it is better than the simplest beyond chance, else the simplest; empty without cross-validation, and where one readout alone was judged.
    cannot_know: what these rows are too few for. judges: how far each judge agrees with the goals.
    """

    graph: str
    readout: str
    rows: int
    used: int
    groups: int
    grouped_by: str
    pairs: int
    folds: int
    goals: Mapping[str, int]
    observed: Mapping[str, float]
    scores: tuple[Score, ...]
    curve: tuple[CurvePoint, ...]
    calibration: tuple[Bin, ...]
    best: str
    simplest: str
    worth_using: str
    verdict: str
    proposals: tuple[Finding, ...]
    gates: tuple[Finding, ...]
    weights: tuple[Weight, ...]
    notes: tuple[str, ...]
    cannot_know: tuple[str, ...]
    seconds: float
    judges: tuple[JudgeCheck, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; an interval is {mean, low, high}."""
        found = _plain(asdict(self))
        assert isinstance(found, dict)
        return found

    @property
    def own(self) -> Score | None:
        """The score of the readout that was fitted; None without cross-validation."""
        return next((score for score in self.scores if score.readout == self.readout), None)

    def __repr__(self) -> str:
        goals = sum(self.goals.values())
        own = f", held-out rank correlation {self.own.spearman}" if self.own else ""
        return f"FitReport({self.graph!r}, {self.readout}: {self.rows:,} rows, {goals:,} goals, {self.groups:,} groups{own}; {self.verdict})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(s.readout)}</td><td>{s.spearman}</td><td>{s.pairs}</td></tr>" for s in self.scores
        )
        table = f"<table><tr><th>readout</th><th>rank correlation</th><th>pairs</th></tr>{rows}</table>" if rows else ""
        found = len(self.proposals) + len(self.gates)
        lines = [self.verdict, f"{found} findings about the graph", *self.cannot_know]
        listed = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        about = f"{self.graph}: {self.rows:,} rows, {sum(self.goals.values()):,} goals, {self.groups:,} groups"
        return f"<p><b>{html.escape(about)}</b></p>{table}<ul>{listed}</ul>"


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {key: _plain(part) for key, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def judge(scores: tuple[Score, ...], goals: int, pairs: int) -> tuple[str, str, str, str]:
    """(best, simplest, worth using, the verdict as a sentence) of readouts that were compared."""
    if not scores:
        return "", "", "", "nothing was held out, so no readout was judged"
    order = {name: place for place, name in enumerate(SIMPLEST_FIRST)}
    if not goals:
        liked = max(scores, key=lambda score: score.preferred.mean if score.preferred else -1.0)
        first = min(scores, key=lambda score: order.get(score.readout, 99))
        return (
            liked.readout, first.readout, "",
            f"no goal is observed, so only the order of {pairs:,} preference pairs is judged: `{liked.readout}` {liked.preferred}",
        )  # fmt: skip
    best = max(scores, key=lambda score: (score.spearman.mean, -order.get(score.readout, 99)))
    simplest = min(scores, key=lambda score: order.get(score.readout, 99))
    if len(scores) == 1:
        told = f"`{best.readout}` alone was judged, with {goals:,} goals: {best.spearman}"
        return best.readout, simplest.readout, "", told
    if best is simplest or best.from_simplest is None:
        return (
            best.readout, simplest.readout, simplest.readout,
            f"`{simplest.readout}`, the simplest, is the best of {len(scores)} with {goals:,} goals: {best.spearman}",
        )  # fmt: skip
    gap = best.from_simplest
    what = (
        f"{best.spearman.mean:.3f}, `{simplest.readout}` (the simplest) {simplest.spearman.mean:.3f}, difference {gap}"
    )
    if gap.low > 0:
        return (
            best.readout, simplest.readout, best.readout,
            f"`{best.readout}` is worth using with {goals:,} goals: rank correlation {what}, beyond chance",
        )  # fmt: skip
    return (
        best.readout, simplest.readout, simplest.readout,
        f"the readouts are not distinguishable from the simplest with {goals:,} goals: `{best.readout}` {what}",
    )  # fmt: skip
