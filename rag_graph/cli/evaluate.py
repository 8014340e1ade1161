"""`rag-graph evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rag_graph.errors import ConfigError, near_miss


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
) -> None:
    """Measure a run's model: accuracy, F1, ROUGE, BLEU per task, each with its 95% interval; writes JSON.

    Examples:

    `rag-graph evaluate runs/quickstart-seed0`

    `rag-graph evaluate runs/news-seed0 --task topic --data my_rows.jsonl`
    """
    from rich.console import Console
    from rich.table import Table

    from rag_graph.data.load import read_examples
    from rag_graph.evaluation.evaluate import evaluate as measure
    from rag_graph.rag.pipeline import RagPipeline
    from rag_graph.rag.retrieval_report import retrieval_report
    from rag_graph.runs.opened import OpenedRun
    from rag_graph.runs.recording import evaluation_record
    from rag_graph.runtime import write_atomically

    if data is not None and task is None:
        raise ConfigError("--data needs --task: which task's fields does the file have?")
    opened = OpenedRun(run, data_needed=data is None)
    tasks = opened.graph.spec.tasks
    if task is not None and task not in tasks:
        raise ConfigError(
            f"--task {task}: no such task in this run.{near_miss(task, tasks)} Its tasks: {', '.join(tasks)}."
        )
    if data is not None:
        assert task is not None
        examples = read_examples(data, task, tasks[task])
    else:
        assert opened.data is not None
        examples = [example for example in opened.data.test if task in (None, example.task)]
    pipeline = RagPipeline(opened.graph, opened.pool if retrieval else None, opened.config.retrieval, opened.write)
    evaluation = measure(pipeline.answer, examples, opened.scorer, opened.config.fingerprint())
    table = Table("task", "metric", "n", "mean [95% interval]", header_style="bold")
    for result in evaluation.results:
        table.add_row(
            result.task, result.metric, str(result.n), f"{result.value:.3f} \\[{result.low:.3f}, {result.high:.3f}]"
        )
    console = Console()
    console.print(table)
    target = out or _free(
        run / "evaluation",
        f"{data.stem if data else 'test'}{'-' + task if task else ''}{'' if retrieval else '-no_retrieval'}",
    )
    record = {
        **evaluation_record(evaluation),
        "data": str(data) if data else "held-out part",
        "with_retrieval": retrieval,
        "retrieval": retrieval_report(pipeline, evaluation.episodes),
    }
    write_atomically(target, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    console.print(f"wrote {target}", soft_wrap=True, highlight=False)


def _free(folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (folder / f"{stem}-{number}.json").exists():
        number += 1
    return folder / f"{stem}-{number}.json"
