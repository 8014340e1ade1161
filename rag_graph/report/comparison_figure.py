"""The figure of a comparison: means and paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from rag_graph.evaluation.statistics import Interval
from rag_graph.figure import Picture
from rag_graph.report.figures import PALETTE


class DrawnArm(NamedTuple):
    """One line of the figure: the mean of each seed, their interval, and the difference from the baseline, where there is one."""

    label: str
    seeds: Sequence[float]
    mean: Interval
    difference: Interval | None


def draw_arms(arms: Sequence[DrawnArm], metric: str, baseline: str, out: str | Path | None = None) -> Picture:
    """Left: each arm's mean, its 95% interval and its seeds. Right: the paired difference from the baseline; intervals that hold together."""
    figure = Picture(figsize=(10.5, 1.4 + 0.5 * len(arms)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
    for place, arm in enumerate(arms):
        color = PALETTE[place % len(PALETTE)]
        left.scatter(arm.seeds, [place + 0.16] * len(arm.seeds), color=color, alpha=0.45, s=16)
        _whisker(left, arm.mean, place, color)
        if arm.difference is not None:
            _whisker(right, arm.difference, place, color)
    right.axvline(0, color="#777777", linewidth=1, linestyle="--")
    left.set_yticks(range(len(arms)), [arm.label for arm in arms], parse_math=False)
    left.invert_yaxis()
    left.set_title(metric, parse_math=False)
    together = "\n(intervals hold together)" if sum(arm.difference is not None for arm in arms) > 1 else ""
    right.set_title(f"minus {baseline}, paired by seed{together}", parse_math=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.write(out, dpi=140)
    return figure


def _whisker(axes: Axes, found: Interval, place: int, color: str) -> None:
    axes.plot([found.low, found.high], [place, place], color=color, linewidth=2)
    axes.plot([found.mean], [place], "o", color=color, markersize=7)
