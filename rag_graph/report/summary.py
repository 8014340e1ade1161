"""The table a run ends with."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from rag_graph.evaluation.costs import NUMBERS, failures_of
from rag_graph.graph.proposal import Proposal
from rag_graph.report.figures import node_series, smooth
from rag_graph.runs.run import Run
from rag_graph.terminal import styled


def summary_tables(run: Run) -> list[Table]:
    """Task metrics before and after PPO with 95% intervals; node scores and rewards, first -> last updates."""
    results = run.results
    return [*([_metrics(results)] if results else []), _nodes(run), *_judges(run), *_graph(run)]


def judge_rows(run: Run) -> list[tuple[str, ...]]:
    """Node, requests, scores from the cache, tokens sent and written, money, seconds waited; a last row of all. Empty where no judge was asked."""
    costs = run.judge_costs()
    nodes = [name for name in run.stated_graph.nodes if f"nodes/{name}/requests" in costs]
    rows: list[tuple[str, ...]] = []
    for shown, key in [*((name, f"nodes/{name}") for name in nodes), ("all", "judge")]:
        of = {name: costs.get(f"{key}/{name}", 0.0) for name in (*NUMBERS, "cached")}
        tokens = (f"{of['tokens_in']:,.0f}", f"{of['tokens_out']:,.0f}")
        rows.append(
            (
                shown,
                f"{of['requests']:,.0f}",
                f"{of['cached']:,.0f}",
                *tokens,
                f"{of['cost']:,.4g}",
                f"{of['seconds']:,.1f}",
            )
        )
    return rows if nodes else []


def judge_failures(run: Run) -> str:
    """ "timeout 3, empty 1"; empty where no question failed."""
    return failures_of(run.judge_costs())


LEFT_OUT = {
    "without_evidence": "episodes without evidence",
    "cut_evidence": "episodes with cut evidence",
    "cut_prompts": "episodes with a cut prompt",
}
"""Shares of an evaluation (`rag.retrieval_report.shown_shares`) -> what the tables call them."""

JUDGE_COLUMNS = ("node", "requests", "cached", "tokens in", "out", "money", "seconds")


def _judges(run: Run) -> list[Table]:
    """What the judges cost; nothing where none was asked."""
    rows = judge_rows(run)
    if not rows:
        return []
    failed = judge_failures(run)
    about = f"No mark (score missing): {failed}" if failed else None
    table = Table(*JUDGE_COLUMNS, title="Judges, over the whole run", caption=about, caption_justify="left", **_PLAIN)
    for row in rows:
        table.add_row(*map(styled, row))
    return [table]


def _graph(run: Run) -> list[Table]:
    """Strengths that moved, what looks wrong in the file, and the alarms; nothing where there is nothing to say."""
    tables = []
    edges = zip(run.stated_graph.spec.edges, run.graph().spec.edges, strict=True)
    moved = [(was, now) for was, now in edges if abs(now.strength - was.strength) >= 0.01]
    if moved:
        table = Table("relation", "file", "learned", title="Strengths that moved (strengths.yaml)", **_PLAIN)
        for was, now in sorted(moved, key=lambda pair: -abs(pair[1].strength - pair[0].strength)):
            name = f"{was.source} -> {was.target} {was.relation} ({run.stated_graph.role(was)})"
            table.add_row(styled(name), f"{was.strength:.2f}", f"{now.strength:.2f}")
        tables.append(table)
    report = run.graph_report
    if report["proposals"]:
        table = Table("", title="Proposals for the graph file; none was applied", show_header=False, **_PLAIN)
        for proposal in report["proposals"]:
            table.add_row(styled(str(Proposal(**proposal))))
        tables.append(table)
    if report["alarms"]:
        table = Table("update", "alarm", "seen", title="Alarms: look before you trust this reward", **_PLAIN)
        for alarm in report["alarms"]:
            answers = "".join(f"\n{one['id']}: {one['response']!r}" for one in alarm["examples"])
            cells = (str(alarm["update"]), alarm["alarm"], f"{alarm['seen']}{answers}\n{alarm['advice']}")
            table.add_row(*map(styled, cells))
        tables.append(table)
    return tables


_PLAIN: dict[str, Any] = {"title_justify": "left", "box": None, "padding": (0, 2, 0, 0), "header_style": "bold"}


def _metrics(results: dict[str, Any]) -> Table:
    without = results["without_retrieval"]
    parts = [results["before"], results["after"], *([without] if without else [])]
    sizes = sorted({record["n"] for record in results["before"]["results"]})
    size = "no example scored" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
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
    for task, metric in dict.fromkeys(key for record in records for key in record):
        row = (record.get((task, metric)) for record in records)
        table.add_row(
            styled(f"{task} {metric}"), *(_interval(r["value"], r["low"], r["high"]) if r else styled("–") for r in row)
        )
    for task in dict.fromkeys(task for part in parts for task in part.get("missing", {})):
        counts = (part.get("missing", {}).get(task, 0) for part in parts)
        table.add_row(styled(f"{task} without a score"), *(str(number) if number else "" for number in counts))
    means = (part["mean_task_score"] for part in parts)
    table.add_row("mean task score", *(_interval(**mean) for mean in means), style="bold")
    changes = [results["gain"], *([without["loss"]] if without else [])]
    table.add_row(styled(("change, paired", "bold")), "", *(_interval(**change, sign="+") for change in changes))
    shown = [part.get("shown") or {} for part in parts]
    for name, title in LEFT_OUT.items():
        if any(share.get(name) for share in shown):
            table.add_row(title, *(f"{share[name]:.0%}" if name in share else "" for share in shown))
    return table


def _interval(mean: float | None, low: float | None, high: float | None, sign: str = "") -> Text:
    """ ".740 [.680, .800]": no zero before the point, so that three columns fit into 80 characters."""
    if mean is None or low is None or high is None:  # not a number, written as null
        return styled("–")
    shown = [
        f"{number:.3f}".replace("0.", ".", 1) if abs(number) < 1 else f"{number:.3f}" for number in (mean, low, high)
    ]
    return styled(f"{sign if mean >= 0 else ''}{shown[0]} [{shown[1]}, {shown[2]}]")


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
            styled(name), f"{share:.0%}", _first_last(scores.get(name), span), _first_last(rewards[name], span)
        )
    return table


def _first_last(series: tuple[list[int], list[float]] | None, span: int) -> str:
    if series is None:
        return "never observed"
    values = series[1]
    return f"{smooth(values[:span], span)[-1]:.3f} -> {smooth(values, span)[-1]:.3f}"
