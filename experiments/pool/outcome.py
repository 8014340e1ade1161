"""What the judging of pools found: means with intervals, the default readout against the best of the others, tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from measures import METRICS, Array, clustered, pair_counts
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from stored import CELLS, Judged, Stored

from rag_graph.config import RewardConfig

DEFAULT = RewardConfig().readout
"""The readout that is compared with the best of the others in each cell."""


def summary(pool: Stored, judged: Sequence[Judged], readouts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One record for each cell: for each readout its metrics with intervals over sources, and the default minus the best other readout.

    A prompt's value is its mean over the masks in which it was judged.
    """
    weights = {metric: pair_counts(pool.goals) if metric == "pairs" else np.ones(len(pool.goals)) for metric in METRICS}
    means = {name: _mean([one[name] for one in judged]) for name in readouts}
    for place, cell in enumerate(CELLS):
        record: dict[str, Any] = {"pool": pool.name, "goals_seen": cell.share, "criteria_hidden": cell.hidden}
        record["readouts"] = {
            name: {metric: _rounded(clustered(means[name][place, row], weights[metric], pool.sources)) for row, metric in enumerate(METRICS)}
            for name in readouts
        }  # fmt: skip
        record["kl"] = {name: _rounded(np.mean([one[f"{name}/kl"][place] for one in judged], 0)) for name in readouts}
        record["seconds"] = {name: round(float(np.mean([one[f"{name}/seconds"][place] for one in judged])), 3) for name in readouts}  # fmt: skip
        others = [name for name in readouts if name != DEFAULT]
        if DEFAULT in readouts and others:
            record["difference"] = {}
            for row, metric in enumerate(METRICS):
                best = max(others, key=lambda name: record["readouts"][name][metric][0])
                gap = means[DEFAULT][place, row] - means[best][place, row]
                record["difference"][metric] = [best, *_rounded(clustered(gap, weights[metric], pool.sources))]
        yield record


def _mean(parts: Sequence[Array]) -> Array:
    """Over masks, without NaN; NaN where there is nothing else."""
    stacked = np.stack(parts).astype(float)
    known = ~np.isnan(stacked)
    total, count = np.where(known, stacked, 0.0).sum(0), known.sum(0)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def _rounded(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [round(float(value), 4) for value in values]


def plain(pool: Stored, part: str) -> dict[str, Any]:
    """What there is to win: the goal of an answer at random, and of the best of all answers."""
    mine = pool.is_dev if part == "dev" else ~pool.is_dev
    goals, sources, ones = pool.goals[mine], pool.sources[mine], np.ones(int(mine.sum()))
    return {
        "pool": pool.name, "prompts": len(goals), "answers": pool.answers, "sources": len(np.unique(sources)),
        "random": _rounded(clustered(goals.mean(1), ones, sources)), "oracle": _rounded(clustered(goals.max(1), ones, sources)),
    }  # fmt: skip


def print_tables(results: Mapping[str, Any], console: Console, metrics: Sequence[str]) -> None:
    """For each metric and pool: readouts by cells; the best readout but the default is marked."""
    for metric in metrics:
        for known in results["pools"]:
            records = [record for record in results["cells"] if record["pool"] == known["pool"]]
            title = f"{known['pool']}, {metric} ({results['part']}, {known['prompts']} prompts, {results['masks']} masks; any answer {known['random'][0]:.3f}, best {known['oracle'][0]:.3f})"
            table = Table("readout", *_heads(records), title=title, title_justify="left")
            others = [name for name in results["readouts"] if name != DEFAULT]
            best = [
                max(others, key=lambda name, r=record: r["readouts"][name][metric][0], default="") for record in records
            ]
            for name in results["readouts"]:
                values = [record["readouts"][name][metric][0] for record in records]
                table.add_row(name, *(f"{v:.3f}{'*' if name == b else ''}" for v, b in zip(values, best, strict=True)))
            if all("difference" in record for record in records):
                gaps = [record["difference"][metric][1:] for record in records]
                table.add_row(f"{DEFAULT} - *", *(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]" for mean, low, high in gaps))
            console.print(table)
        console.print(overall(results, metric), highlight=False, soft_wrap=True)


def _heads(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{r['goals_seen']:g}{' half' if r['criteria_hidden'] else ''}" for r in records]


def overall(results: Mapping[str, Any], metric: str) -> str:
    """Means over cells, and the cell in which the default is furthest below the best other readout."""
    cells = results["cells"]
    means = {n: float(np.mean([c["readouts"][n][metric][0] for c in cells])) for n in results["readouts"]}
    text = f"{metric}, mean over {len(cells)} cells: " + ", ".join(
        f"{name} {value:.3f}" for name, value in sorted(means.items(), key=lambda item: -item[1])
    )
    gaps = [(c["difference"][metric], c) for c in cells if "difference" in c]
    if gaps:
        (best, gap, *_), worst = min(gaps, key=lambda item: item[0][1])
        where = (
            f"{worst['pool']}, {worst['goals_seen']:g} of goals seen, {worst['criteria_hidden']:g} of criteria hidden"
        )
        text += f"\n{DEFAULT} is furthest below the best other readout ({best}) by {gap:+.3f}: {where}"
    return text


def dump(results: Mapping[str, Any]) -> str:
    """One cell a line, so that a diff shows what changed."""
    head = json.dumps({name: value for name, value in results.items() if name != "cells"})
    return head[:-1] + ', "cells": [\n' + ",\n".join(map(json.dumps, results["cells"])) + "\n]}\n"
