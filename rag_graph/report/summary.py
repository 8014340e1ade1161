"""The table a run ends with."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from rag_graph.graph.proposal import Proposal
from rag_graph.report.figures import node_series, smooth
from rag_graph.report.html import LEFT_OUT
from rag_graph.runs.run import Run


def summary_tables(run: Run) -> list[Table]:
    """Task metrics before and after PPO with 95% intervals; node scores and rewards, first -> last updates."""
    results = run.results
    assert results is not None
    return [_metrics(results), _nodes(run), *_graph(run)]


def _graph(run: Run) -> list[Table]:
    """Strengths that moved, what looks wrong in the file, and the alarms; nothing where there is nothing to say."""
    tables = []
    edges = zip(run.stated_graph.spec.edges, run.graph().spec.edges, strict=True)
    moved = [(was, now) for was, now in edges if abs(now.strength - was.strength) >= 0.01]
    if moved:
        table = Table("relation", "file", "learned", title="Strengths that moved (strengths.yaml)", **_PLAIN)
        for was, now in sorted(moved, key=lambda pair: -abs(pair[1].strength - pair[0].strength)):
            name = f"{was.source} -> {was.target} {was.relation} ({run.stated_graph.role(was)})"
            table.add_row(escape(name), f"{was.strength:.2f}", f"{now.strength:.2f}")
        tables.append(table)
    report = run.graph_report
    if report["proposals"]:
        table = Table("", title="Proposals for the graph file; none was applied", show_header=False, **_PLAIN)
        for proposal in report["proposals"]:
            table.add_row(escape(str(Proposal(**proposal))))
        tables.append(table)
    if report["alarms"]:
        table = Table("update", "alarm", "seen", title="Alarms: look before you trust this reward", **_PLAIN)
        for alarm in report["alarms"]:
            table.add_row(str(alarm["update"]), alarm["alarm"], escape(alarm["seen"]))
        tables.append(table)
    return tables


_PLAIN: dict[str, Any] = {"title_justify": "left", "box": None, "padding": (0, 2, 0, 0), "header_style": "bold"}


def _metrics(results: dict[str, Any]) -> Table:
    without = results["without_retrieval"]
    parts = [results["before"], results["after"], *([without] if without else [])]
    sizes = sorted({record["n"] for record in results["before"]["results"]})
    size = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    table = Table(
        title=f"Held-out examples, {size} a task, greedy: mean [95% interval]",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for name in ("task", "before PPO", "after PPO", *(["no retrieval"] if without else [])):
        table.add_column(name, no_wrap=True)
    records = [{(r["task"], r["metric"]): r for r in part["results"]} for part in parts]
    for task, metric in records[0]:
        row = (record[task, metric] for record in records)
        table.add_row(f"{escape(task)} {metric}", *(_interval(r["value"], r["low"], r["high"]) for r in row))
    means = (part["mean_task_score"] for part in parts)
    table.add_row("[bold]mean task score[/]", *(f"[bold]{_interval(**mean)}[/]" for mean in means))
    changes = [results["gain"], *([without["loss"]] if without else [])]
    table.add_row("[bold]change, paired[/]", "", *(_interval(**change, sign="+") for change in changes))
    shown = [part.get("shown") or {} for part in parts]
    for name, title in LEFT_OUT.items():
        if any(share.get(name) for share in shown):
            table.add_row(title, *(f"{share[name]:.0%}" if name in share else "" for share in shown))
    return table


def _interval(mean: float, low: float, high: float, sign: str = "") -> str:
    """ ".740 [.680, .800]": no zero before the point, so that three columns fit into 80 characters."""
    shown = [
        f"{number:.3f}".replace("0.", ".", 1) if abs(number) < 1 else f"{number:.3f}" for number in (mean, low, high)
    ]
    return f"{sign if mean >= 0 else ''}{shown[0]} \\[{shown[1]}, {shown[2]}]"


def _nodes(run: Run) -> Table:
    records = run.records()
    span = max(1, len(records) // 10)
    table = Table(
        "node",
        "observed",
        "score",
        "reward",
        title=f"Nodes, sampled answers: first {span} -> last {span} updates of PPO",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
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
