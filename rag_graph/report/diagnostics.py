"""One picture of whether a run's reward can be trusted: held-out goal, strengths, calibration, trade-offs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from rag_graph.figure import Picture
from rag_graph.report.figures import PALETTE, node_series, smooth
from rag_graph.reward.diagnostics import pareto_front
from rag_graph.runs.run import Run

Records = list[dict[str, Any]]


def draw_diagnostics(run: Run, out: str | Path | None = None) -> Picture:
    """Four panels: paid utility against the held-out goal, with alarms; learned strengths; bias of predictions; goal against the mean
    of the other nodes, update by update, with the Pareto front.

    Returns:
        A matplotlib figure, which a notebook shows; also written to `out` if given.
    """
    records = run.records()
    figure = Picture(figsize=(11, 7.2))
    axes = figure.subplots(2, 2)
    _utility(axes[0, 0], records, run.graph_report["alarms"])
    _strengths(axes[0, 1], records)
    _calibration(axes[1, 0], records)
    _pareto(axes[1, 1], records)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.write(out, dpi=140)
    return figure


def _points(records: Records, key: str) -> tuple[list[int], list[float]]:
    found = [(record["update"], record[key]) for record in records if record.get(key) is not None]
    return [update for update, _ in found], [value for _, value in found]


def _utility(panel: Axes, records: Records, alarms: list[dict[str, Any]]) -> None:
    width = max(1, len(records) // 15)
    for color, key, label in ((0, "reward/utility", "paid utility"), (1, "reward/held_out_goal", "held-out goal")):
        updates, values = _points(records, key)
        if values:
            panel.plot(updates, values, color=PALETTE[color], alpha=0.2, linewidth=0.8)
            panel.plot(updates, smooth(values, width), color=PALETTE[color], label=label)
    for alarm in alarms:
        panel.axvline(alarm["update"], color="#999999", linestyle=":")
        panel.text(
            alarm["update"],
            1.0,
            alarm["alarm"],
            transform=panel.get_xaxis_transform(),
            rotation=90,
            va="top",
            fontsize=7,
        )
    panel.set(xlabel="PPO update", title="What is paid and what is meant")
    if panel.get_legend_handles_labels()[0]:  # the line of an alarm has no label
        panel.legend(frameon=False, fontsize=8)


def _strengths(panel: Axes, records: Records) -> None:
    names = dict.fromkeys(key for record in records for key in record if key.startswith("graph/"))
    for number, name in enumerate(names):
        updates, values = _points(records, name)
        style = ("-", "--", ":", "-.")[number // len(PALETTE) % 4]
        panel.plot(
            updates,
            values,
            style,
            color=PALETTE[number % len(PALETTE)],
            label=name.removeprefix("graph/"),
            linewidth=1.4,
        )
    panel.set(xlabel="PPO update", ylim=(-0.03, 1.03), title="Strengths that may move")
    if 0 < len(names) <= 24:
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=6)


def _calibration(panel: Axes, records: Records) -> None:
    last = {name: values[-1] for name, (_, values) in node_series(records, "bias").items()}
    errors = {name: values[-1] for name, (_, values) in node_series(records, "ece").items()}
    places = range(len(last))
    panel.bar(
        [x - 0.2 for x in places], list(last.values()), 0.4, color=PALETTE[0], label="bias: prediction - observation"
    )
    panel.bar(
        [x + 0.2 for x in places],
        [errors[name] for name in last],
        0.4,
        color=PALETTE[4],
        label="expected calibration error",
    )
    panel.set_xticks(list(places), list(last), rotation=30, ha="right", fontsize=7)
    panel.axhline(0, color="#999999", linewidth=0.8)
    panel.set(title="Predictions of hidden scores, at the end")
    if last:
        panel.legend(frameon=False, fontsize=8)


def _pareto(panel: Axes, records: Records) -> None:
    goals = dict(zip(*_points(records, "reward/held_out_goal"), strict=True))
    others: dict[int, list[float]] = {}
    for updates, values in node_series(records, "score").values():
        for update, value in zip(updates, values, strict=True):
            others.setdefault(update, []).append(value)
    both = [(sum(others[u]) / len(others[u]), goal, u) for u, goal in goals.items() if u in others]
    if both:
        points = torch.tensor([[x, y] for x, y, _ in both])
        front = pareto_front(points).tolist()
        updates = [u for _, _, u in both]
        shown = panel.scatter(points[:, 0].tolist(), points[:, 1].tolist(), c=updates, cmap="viridis", s=12)
        edge = sorted((x, y) for (x, y, _), on in zip(both, front, strict=True) if on)
        panel.plot(*zip(*edge, strict=True), color=PALETTE[1], linewidth=1.2, label="Pareto front")
        panel.figure.colorbar(shown, ax=panel, label="PPO update")
        panel.legend(frameon=False, fontsize=8)
    panel.set(xlabel="mean observed score of all nodes", ylabel="held-out goal", title="Trade-off along the run")
