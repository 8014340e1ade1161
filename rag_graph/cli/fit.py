"""`rag-graph fit`: logged answers to a reward, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from rag_graph.config import ReadoutName, RewardConfig
from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.terminal import Terminal, echo, styled

if TYPE_CHECKING:
    from rag_graph.reward.offline.fit_report import FitReport
    from rag_graph.reward.offline.rows import Reading

DEFAULT_FOLDER = "fits"


def fit(
    graph: Annotated[str, typer.Argument(help="A graph-definition file, or the name of a shipped graph.")],
    table: Annotated[
        Path, typer.Argument(help="Logged answers: .jsonl, .csv or .parquet, a column per node; empty: not observed.")
    ],
    out: Annotated[Path | None, typer.Option(help="The folder to write; default fits/TABLE.")] = None,
    readout: Annotated[
        str, typer.Option(help="The readout that is fitted, and that a run starts from.")
    ] = "expected_goal",
    readouts: Annotated[
        list[str] | None,
        typer.Option(
            help="Readouts to compare, besides. Default: those that fit in closed form; networks (prior_gnn, gnn, mlp) take minutes. Repeatable."
        ),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="A criterion that a judge scores: its agreement with the goals is told. Default: each with metric judge. Repeatable.",
            metavar="NODE",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts of the groups that are held out in turn.")] = 5,
    task: Annotated[
        str | None, typer.Option(help="Column that names the task; default task.", metavar="COLUMN")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Column that says which rows belong together; default group, else prompt. `row`: each row by itself.",
            metavar="COLUMN",
        ),
    ] = None,
    rescale: Annotated[
        list[str] | None,
        typer.Option(
            help="Node and the values that become 0 and 1, such as quality=1:5; errors=10:0 turns a scale round. Repeatable.",
            metavar="NODE=LOW:HIGH",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A column that is no score. Repeatable.", metavar="COLUMN")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds, and of the rows of a fit.", min=0)] = 0,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Fit a reward to logged answers, and say how far it can be trusted: which readout is worth using, what the graph gets wrong, which weights rest on noise.

    Writes a page (fit.html), its numbers (fit.json) and the fitted reward, from which a run starts: `reward.start_from: FOLDER`.

    Examples:

    `rag-graph fit my_graph.yaml answers.jsonl`

    `rag-graph fit my_graph.yaml answers.csv --group source --rescale quality=1:5 --out fits/first`
    """
    if readout not in get_args(ReadoutName):
        raise ConfigError(
            f"--readout {readout}: unknown.{near_miss(readout, get_args(ReadoutName))} Known: {', '.join(get_args(ReadoutName))}."
        )
    scales = _scales(rescale or [])
    folder = out or Path(DEFAULT_FOLDER) / table.name.partition(".")[0]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not (folder / "fit.json").is_file():
        raise ConfigError(f"--out {folder}: it exists and holds no earlier fit. Choose another folder.")
    if not table.is_file():
        raise DataError(f"{table}: no such file.")

    from rag_graph.report.fit_page import write_fit_report
    from rag_graph.reward.reward import GraphReward
    from rag_graph.runs.progress import StageProgress

    how: Reading = {"rescale": scales, "ignore": ignore or []}
    if task is not None:
        how["task"] = task
    if group is not None:
        how["group"] = group
    reward = GraphReward(graph, config=RewardConfig.model_validate({"readout": readout}), seed=seed)
    with StageProgress() as progress:
        report = reward.fit(
            table, readouts=readouts or None, folds=folds, judges=judge or None, progress=progress, **how
        )
    page = write_fit_report(report, folder)
    reward.save(folder)
    console = Terminal()
    print_fit(report, console if console.is_terminal else Terminal(width=140))
    same = "" if readout == RewardConfig().readout else f" --set reward.readout={readout}"
    echo(
        f"wrote {page}, fit.json and the fitted reward; a run starts from it with --set reward.start_from={folder}{same}"
    )
    if report.worth_using not in ("", readout):
        echo(
            f"the fitted reward is of {readout}; for the readout that is worth using here, fit again with --readout {report.worth_using}"
        )
    if show:
        typer.launch(str(page.resolve()))


def print_fit(report: FitReport, console: Terminal) -> None:
    """The readouts as a table; below it the verdict, what was found, and what cannot be known."""
    from rich.table import Table

    from rag_graph.report.fit_page import KINDS, about_fit, fit_rows, plain

    def say(text: str, mark: str = "", style: str = "") -> None:
        console.print(styled((mark, style), text))

    say(about_fit(report))
    header, rows = fit_rows(report)
    if rows:
        table = Table(*header, box=None, header_style="bold", padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*row)
        console.print(table)
    say(plain(report.verdict))
    for one in [*report.gates, *report.proposals]:
        say(f"{f'{one.place}: ' if one.place else ''}{KINDS[one.kind]}: {plain(one.text)}")
    noise = [f"{one.node} {one.effect}" for one in report.weights if one.on_noise]
    if noise:
        say(f"weights on noise, their interval covers 0: {', '.join(noise)}")
    against = [f"{one.node} {one.effect}" for one in report.weights if one.against]
    if against:
        say(f"weights against the file, beside the other scores: {', '.join(against)}")
    for check in report.judges:
        for line in check.said:
            say(line, "judge: ", "bold")
    for line in report.notes:
        say(plain(line), "note: ", "dim")
    for line in report.cannot_know:
        say(plain(line), "these rows cannot say: ", "yellow")


def _scales(stated: Sequence[str]) -> dict[str, tuple[float, float]]:
    found = {}
    for text in stated:
        node, _, ends = text.partition("=")
        low, _, high = ends.partition(":")
        try:
            found[node] = (float(low), float(high))
        except ValueError:
            raise ConfigError(
                f"--rescale {text}: NODE=LOW:HIGH with two numbers is expected, such as quality=1:5."
            ) from None
    return found
