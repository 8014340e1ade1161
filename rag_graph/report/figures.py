"""Figures of a run, made from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag_graph.figure import Picture
from rag_graph.runs.run import Run

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def node_series(records: list[dict[str, Any]], quantity: str) -> dict[str, tuple[list[int], list[float]]]:
    """Node -> updates and values of "score", "reward", "imputed" or "observed", where they were logged."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        for key, value in record.items():
            if key.startswith("nodes/") and key.endswith(f"/{quantity}") and value is not None:
                updates, values = series.setdefault(key.split("/")[1], ([], []))
                updates.append(record["update"])
                values.append(value)
    return series


def smooth(values: list[float], width: int) -> list[float]:
    """Mean of each value and up to width - 1 before it."""
    return [sum(values[max(0, i - width + 1) : i + 1]) / (i + 1 - max(0, i - width + 1)) for i in range(len(values))]


def draw_curves(run: Run, out: str | Path | None = None) -> Picture:
    """Per-node scores, the scalar reward and the KL over the updates of PPO; a faint line each update, a strong one smoothed.

    Returns:
        A matplotlib figure, which a notebook shows; also written to `out` if given.
    """
    records = run.records()
    figure = Picture(figsize=(11, 3.8))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    width = max(1, len(records) // 15)
    for number, (name, (updates, values)) in enumerate(node_series(records, "score").items()):
        color = PALETTE[number % len(PALETTE)]
        style = "-" if number < len(PALETTE) else "--"
        left.plot(updates, values, color=color, alpha=0.15, linewidth=0.8)
        left.plot(updates, smooth(values, width), color=color, label=name, linewidth=1.8, linestyle=style)
    left.set(xlabel="PPO update", ylabel="observed score", ylim=(-0.02, 1.04), title="Score of each node")
    if records:
        left.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    for key, color in (("objective/scores", PALETTE[0]), ("objective/kl", PALETTE[1])):
        points = [(record["update"], record[key]) for record in records if record.get(key) is not None]
        if points:
            updates, values = map(list, zip(*points, strict=True))
            right.plot(updates, values, color=color, alpha=0.2, linewidth=0.8)
            right.plot(
                updates,
                smooth(values, width),
                color=color,
                label={"objective/scores": "reward", "objective/kl": "KL to reference, nats"}[key],
            )
    right.set(xlabel="PPO update", title="Reward and KL")
    if records:
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.write(out, dpi=140)
    return figure
