"""`rag-graph report` and `rag-graph compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_graph.errors import ConfigError
from rag_graph.terminal import Terminal, echo, styled

if TYPE_CHECKING:
    from rag_graph.report.comparison import Comparison


def report(
    run: Annotated[Path, typer.Argument(help="A run folder; finished, still going or stopped.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; default RUN/report.html.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a run as one HTML file: graph, curves, episodes, alarms, proposals for the graph file, settings. It needs no network.

    Example: `rag-graph report runs/tickets-seed0 --open`
    """
    from rag_graph.report.html import write_report
    from rag_graph.runs.run import Run

    if out is not None and not out.parent.is_dir():
        raise ConfigError(f"--out {out}: no such folder: {out.parent}")
    written = write_report(Run(run, skip_damaged=True), out)
    echo(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)")
    if show:
        typer.launch(str(written.resolve()))


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, folders of sweeps, or globs in quotes.", metavar="RUN...")
    ],
    metric: Annotated[
        str,
        typer.Option(
            help="`score` (the tasks' scores after PPO), `gain`, TASK/METRIC such as question/exact_match, or a column of metrics.jsonl."
        ),
    ] = "score",
    baseline: Annotated[
        str | None, typer.Option(help="An arm's label or one of its run folders; default the first.")
    ] = None,
    out: Annotated[
        list[Path] | None, typer.Option(help="Also write .md, .csv, .tex, .png, .svg or .pdf. Repeatable.")
    ] = None,
) -> None:
    """Compare finished runs: grouped by config, paired by seed; means, IQM, paired differences with intervals and p values for all arms together.

    Warns if runs are not comparable: other data, another budget, other code.

    Examples:

    `rag-graph compare 'runs/tickets-*' 'runs/flat-*'`

    `rag-graph compare sweeps/readouts --baseline readout=flat --out table.md --out figure.png`
    """

    from rag_graph.report.compare import compare as measure
    from rag_graph.report.comparison import FORMATS

    for path in out or []:
        if path.suffix not in FORMATS:
            raise ConfigError(f"--out {path}: unknown kind of table '{path.suffix}'. Known: {', '.join(FORMATS)}.")
    found = measure(runs, metric, baseline)
    console = Terminal()
    print_comparison(found, console)
    for path in out or []:
        console.print(f"wrote {found.write(path)}")


def print_comparison(found: Comparison, console: Terminal) -> None:
    """The table, and below it the warnings about runs that are not comparable."""
    from rich.table import Table

    header, *rows = found.cells()
    table = Table(
        *header, title=found.caption, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0)
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for warning in found.warnings:
        console.print(styled(("warning:", "yellow"), f" {warning}"))
