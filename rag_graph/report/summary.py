"""The table a run ends with."""

from __future__ import annotations

import json
from typing import Any

from rich.markup import escape
from rich.table import Table

from rag_graph.report.figures import node_series, smooth
from rag_graph.runtime import RunFolder


def summary_tables(folder: RunFolder) -> list[Table]:
    """Task metrics before and after PPO with 95% intervals; node scores and rewards, first -> last updates."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return [_metrics(results), _nodes(folder)]


def _metrics(results: dict[str, Any]) -> Table:
    without = results["without_retrieval"]
    columns = ["task", "metric", "n", "before PPO", "after PPO", *(["after, no retrieval"] if without else [])]
    table = Table(*columns, title="Held-out examples: mean [95% interval]", title_justify="left", header_style="bold")
    parts = [{(r["task"], r["metric"]): r for r in results[part]["results"]} for part in ("before", "after")]
    parts += [{(r["task"], r["metric"]): r for r in without["results"]}] if without else []
    for key, first in parts[0].items():
        table.add_row(escape(key[0]), key[1], str(first["n"]), *(_interval(part[key], "value") for part in parts))
    table.add_section()
    means = [results["before"], results["after"], *([without] if without else [])]
    table.add_row(
        "[bold]mean task score[/]",
        "",
        "",
        *(f"[bold]{_interval(part['mean_task_score'], 'mean')}[/]" for part in means),
    )
    change = [
        f"[bold]{results['gain']['mean']:+.3f}[/] [{results['gain']['low']:+.3f}, {results['gain']['high']:+.3f}]"
    ]
    change += (
        [f"[bold]{without['loss']['mean']:+.3f}[/] [{without['loss']['low']:+.3f}, {without['loss']['high']:+.3f}]"]
        if without
        else []
    )
    table.add_row("change (paired)", "", "", "", *(text.replace(" [", " \\[") for text in change))
    return table


def _interval(record: dict[str, Any], value: str) -> str:
    return f"{record[value]:.3f} \\[{record['low']:.3f}, {record['high']:.3f}]"


def _nodes(folder: RunFolder) -> Table:
    records = [record for record in folder.read("metrics.jsonl") if record.get("stage") == "ppo"]
    span = max(1, len(records) // 10)
    table = Table(
        "node",
        "observed",
        "score",
        "reward",
        title=f"Nodes: first {span} -> last {span} updates of PPO",
        title_justify="left",
        header_style="bold",
    )
    scores, rewards, observed = (node_series(records, quantity) for quantity in ("score", "reward", "observed"))
    for name in rewards:
        share = sum(observed[name][1]) / len(observed[name][1])
        table.add_row(
            escape(name), f"{share:.0%}", _first_last(scores.get(name), span), _first_last(rewards[name], span)
        )
    return table


def _first_last(series: tuple[list[int], list[float]] | None, span: int) -> str:
    if series is None:
        return "never observed"
    values = series[1]
    return f"{smooth(values[:span], span)[-1]:.3f} -> {smooth(values, span)[-1]:.3f}"
