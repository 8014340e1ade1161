"""`rag-graph evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_graph.cli.train import AcceptChanged, Code, DataRoot, TrustRemoteCode
from rag_graph.display import count
from rag_graph.terminal import Terminal


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    task: Annotated[str | None, typer.Option(help="Evaluate this task only.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A jsonl, csv or parquet file with the task's fields; needs --task. Default: the run's held-out part."
        ),
    ] = None,
    retrieval: Annotated[bool, typer.Option(help="Answer with evidence.")] = True,
    out: Annotated[Path | None, typer.Option(help="Where the JSON goes; default a new file in RUN/evaluation.")] = None,
    accept_changed: AcceptChanged = [],  # noqa: B006 (typer reads the default, nobody changes it)
    code: Code = None,
    trust_remote_code: TrustRemoteCode = False,
    data_root: DataRoot = None,
) -> None:
    """Evaluate the model of a run: the metrics of each task, each with its 95% interval. Writes JSON.

    Examples:

    `rag-graph evaluate runs/tickets-seed0`

    `rag-graph evaluate runs/news-seed0 --task topic --data my_rows.jsonl`
    """
    from rich.table import Table

    from rag_graph.evaluation.costs import cost_line
    from rag_graph.report.summary import LEFT_OUT
    from rag_graph.runs.run import Run

    opened = Run(run, accept_changed=accept_changed, code=code, trust_remote_code=trust_remote_code)
    evaluation = opened.evaluate(data, task, retrieval=retrieval, out=out)
    table = Table("task", "metric", "n", "mean [95% interval]", title="Greedy answers", title_justify="left", header_style="bold")  # fmt: skip
    for result in evaluation.results:
        table.add_row(
            result.task, result.metric, str(result.n), f"{result.value:.3f} [{result.low:.3f}, {result.high:.3f}]"
        )
    console = Terminal()
    console.print(table)
    for name, without in evaluation.without_reference.items():
        console.print(f"{name}: {count(without, 'example')} without a reference, not in the table")
    for name, title in LEFT_OUT.items():
        if (evaluation.shown or {}).get(name):
            console.print(f"{title}: {(evaluation.shown or {})[name]:.1%}")
    for name, number in evaluation.missing.items():
        console.print(f"{number} answers of task {name} have no score")
    if line := cost_line(evaluation.costs):
        console.print(line)
    console.print(f"wrote {evaluation.path}")
