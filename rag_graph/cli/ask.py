"""`rag-graph ask`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_graph.errors import ConfigError, near_miss
from rag_graph.graph.spec import NOT_SHOWN


def ask(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    text: Annotated[str, typer.Argument(help="The question, or the text of a task that asks none.")],
    task: Annotated[
        str | None, typer.Option(help="Task to answer as; default the first that has a question, else the first.")
    ] = None,
    given: Annotated[str | None, typer.Option("--input", help="The passage that a question is about.")] = None,
) -> None:
    """Ask a run's model through its pipeline; shows draft, evidence with reasons, answer, and the rewards of the nodes.

    Example: `rag-graph ask runs/quickstart-seed0 "where is it from ?" --input "anna bought a red kettle ."`
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from rag_graph.rag import passage_weights
    from rag_graph.records import Example
    from rag_graph.training.opened import OpenedRun

    opened = OpenedRun(run)
    tasks = opened.graph.spec.tasks
    chosen = task or next((name for name, spec in tasks.items() if "question" in spec.fields), next(iter(tasks)))
    if chosen not in tasks:
        raise ConfigError(
            f"--task {chosen}: no such task in this run.{near_miss(chosen, tasks)} Its tasks: {', '.join(tasks)}."
        )
    fields = [name for name in tasks[chosen].fields if name not in NOT_SHOWN]
    asked = "question" if "question" in fields else fields[0]
    if given is not None and asked == "input":
        raise ConfigError(f"--input: task '{chosen}' asks no question; its text is the argument itself.")
    inputs = dict.fromkeys(fields, "") | ({"input": given} if given is not None else {}) | {asked: text}
    episode = opened.pipeline.answer([Example("asked", chosen, inputs)])[0]
    episode = episode.with_scores(opened.scorer.score(episode))
    rewards = opened.reward().node_rewards([episode])

    console = Console()
    console.print(f"[bold]task[/]    {chosen}")
    if opened.config.retrieval.draft and opened.pool.ranks(chosen):
        console.print(f"[bold]draft[/]   {escape(episode.draft) or '(empty)'}")
    if episode.evidence:
        settings = opened.config.retrieval
        fused = [] if settings.fusion == "concat" else [p for p in episode.evidence if not opened.pool.is_pinned(p)]
        weights = dict(zip((piece.rank for piece in fused), passage_weights(fused, settings), strict=True))
        columns = ("rank", "evidence", *(["p"] if fused else []), "why")
        table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
        for piece in episode.evidence:
            shown = [f"{weights[piece.rank]:.2f}" if piece.rank in weights else ""] if fused else []
            table.add_row(str(piece.rank), escape(piece.context.text), *shown, f"[dim]{escape(piece.reason)}[/]")
        console.print(table)
    console.print(f"[bold]answer[/]  {escape(episode.response)}")
    table = Table("node", "score", "measured", "weight", "pays", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column, name in enumerate(rewards.nodes):
        weight, value = rewards.weights[0, column].item(), rewards.values[0, column].item()
        if weight or name in episode.scores:
            measured = "yes" if rewards.observed[0, column] else "imputed"
            table.add_row(
                escape(name),
                f"{rewards.scores[0, column].item():.3f}",
                measured,
                f"{weight:.2f}",
                f"{weight * value + 0.0:+.3f}",
            )
    console.print(table)
    total = rewards.total()[0].item()
    console.print(
        f"[bold]reward[/]  {total:+.3f}" if total == total else "[bold]reward[/]  none: nothing that pays was observed"
    )
