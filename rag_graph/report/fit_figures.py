"""Pictures of a fit to logged answers: learning curve, calibration, weights."""

from __future__ import annotations

import io
import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rag_graph.report.figures import PALETTE
from rag_graph.reward.offline.fit_report import FitReport

MOST_LINES = 6


def draw_curve(report: FitReport) -> Figure:
    """Rank correlation of held-out answers over the number of goals that a fit saw, with 95% bars: the readout that was fitted, the best,
    the simplest, and the next best ones."""
    figure = Figure(figsize=(5.6, 3.6))
    panel = figure.subplots()
    ranked = sorted(report.scores, key=lambda score: -score.spearman.mean)
    first = (report.readout, report.best, report.simplest)
    shown = list(dict.fromkeys([*first, *(score.readout for score in ranked)]))[:MOST_LINES]
    for number, name in enumerate(shown):
        points = [point for point in report.curve if point.readout == name]
        goals = [
            point.goals * 1.03 ** (number - len(shown) / 2) for point in points
        ]  # side by side, so that bars stay apart
        means = [point.spearman.mean for point in points]
        reach = [
            [p.spearman.mean - p.spearman.low for p in points],
            [p.spearman.high - p.spearman.mean for p in points],
        ]
        style = "-" if name == report.readout else "--"
        panel.errorbar(
            goals, means, yerr=reach, fmt=f"{style}o", color=PALETTE[number], label=name, markersize=3.5, linewidth=1.4, elinewidth=0.7
        )  # fmt: skip
    panel.set(xscale="log", xlabel="goals that a fit saw", ylabel="rank correlation, held out")
    sizes = sorted({point.goals for point in report.curve})
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.minorticks_off()
    panel.legend(frameon=False, fontsize=8)
    return _finished(figure, panel)


def draw_calibration(report: FitReport) -> Figure:
    """Mean goal of held-out answers over their mean prediction, in bins of like size, with 95% bars."""
    figure = Figure(figsize=(4.2, 3.6))
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    x = [one.predicted for one in report.calibration]
    y = [one.goal.mean for one in report.calibration]
    reach = [
        [one.goal.mean - one.goal.low for one in report.calibration],
        [one.goal.high - one.goal.mean for one in report.calibration],
    ]
    panel.errorbar(x, y, yerr=reach, fmt="o", color=PALETTE[0], markersize=4, elinewidth=0.8)
    panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted goal", ylabel="goal as observed")
    return _finished(figure, panel)


def draw_weights(report: FitReport) -> Figure:
    """What each score does to the predicted goal, with 95% bars; those that cover 0 are grey."""
    weights = [one for one in report.weights if not math.isnan(one.effect.low)]
    figure = Figure(figsize=(5.6, 0.9 + 0.26 * len(weights)))
    panel = figure.subplots()
    several = len({one.task for one in weights}) > 1
    for place, one in enumerate(reversed(weights)):
        color = "#999999" if one.on_noise else PALETTE[0]
        panel.plot([one.effect.low, one.effect.high], [place, place], color=color, linewidth=1.2)
        panel.plot(one.effect.mean, place, "o", color=color, markersize=4)
    names = [f"{one.node} → {one.task}" if several else one.node for one in reversed(weights)]
    panel.set_yticks(range(len(weights)), names, fontsize=8)
    panel.axvline(0, color="#1a1f24", linewidth=0.8)
    panel.set(xlabel="change of the predicted goal")
    return _finished(figure, panel)


def as_svg(figure: Figure) -> str:
    """A figure as the text of an SVG file, alike whenever it is drawn."""
    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "rag_graph"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _finished(figure: Figure, panel: Axes) -> Figure:
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure
