"""`rag-graph ask`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_graph.cli.train import AcceptChanged, Code, DataRoot, TrustRemoteCode
from rag_graph.terminal import Terminal, styled


def ask(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    text: Annotated[str, typer.Argument(help="The question, or the text of a task without a question.")],
    task: Annotated[
        str | None, typer.Option(help="The task; default the first one that has a question, else the first one.")
    ] = None,
    given: Annotated[str | None, typer.Option("--input", help="The passage that a question is about.")] = None,
    accept_changed: AcceptChanged = [],  # noqa: B006 (typer reads the default, nobody changes it)
    code: Code = None,
    trust_remote_code: TrustRemoteCode = False,
    data_root: DataRoot = None,
) -> None:
    """Ask the model of a run. Shows the draft, the evidence with reasons, the answer, and the rewards of the nodes.

    Example: `rag-graph ask runs/tickets-seed0 "please check my parcel got lost" --task reply`
    """
    from rich.table import Table

    from rag_graph.runs.run import Run

    answer = Run(run, accept_changed=accept_changed, code=code, trust_remote_code=trust_remote_code).ask(
        text, task, given
    )
    console = Terminal()
    console.print(styled(("task", "bold"), f"    {answer.episode.example.task}"))
    if answer.drafted:
        console.print(styled(("draft", "bold"), f"   {answer.draft or '(empty)'}"))
    if answer.evidence:
        chances = answer.probabilities
        columns = ("rank", "evidence", *(["p"] if chances else []), "why")
        table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
        for piece in answer.evidence:
            shown = [f"{chances[piece.rank]:.2f}" if piece.rank in chances else ""] if chances else []
            table.add_row(str(piece.rank), piece.context.text, *shown, styled((piece.reason, "dim")))
        console.print(table)
    if answer.episode.prompt_cut:
        console.print(
            styled(
                ("cut", "bold"),
                "     the prompt was longer than model.max_prompt_tokens: evidence, or the middle of the input, was left out",
            )
        )
    console.print(styled(("answer", "bold"), f"  {answer.text}"))
    table = Table("node", "score", "measured", "weight", "pays", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, score in answer.scores.items():
        weight = answer.rewards.weights[0, answer.rewards.nodes.index(name)].item()
        measured = "yes" if name in answer.episode.scores else "imputed"
        table.add_row(name, f"{score:.3f}", measured, f"{weight:.2f}", f"{answer.paid[name]:+.3f}")
    console.print(table)
    for name, said in answer.episode.rationales.items():
        console.print(styled(("judge", "bold"), f"   {name}: ", (said, "dim")))
    for name, why in answer.episode.failed.items():
        console.print(styled(("failed", "bold"), f"  {name}: {why}"))
    total = answer.reward
    console.print(
        styled(("reward", "bold"), f"  {total:+.3f}" if total is not None else "  none: nothing that pays was observed")
    )
