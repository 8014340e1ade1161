"""`rag-graph train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rag_graph.config import RunConfig, load_config
from rag_graph.data.roots import allow
from rag_graph.errors import ConfigError
from rag_graph.graph.effects import goal_share, warning_of_run, warnings_of_room
from rag_graph.runs.judged import asked_of_judges
from rag_graph.terminal import Terminal, echo


def _allow(folder: Path | None) -> Path | None:
    """Before anything is read."""
    if folder is not None:
        allow(folder)
    return folder


Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as `--set ppo.updates=20`. Repeatable."),
]
AcceptChanged = Annotated[
    list[str],
    typer.Option(
        "--accept-changed",
        metavar="NAME",
        help="This may have changed since the run began: the code of the scorer of this node, or, with --resume, config.yaml or graph.yaml. Repeatable.",
    ),
]
Code = Annotated[
    Path | None,
    typer.Option(
        "--code", metavar="FOLDER", help="Where the modules of the run's scorers are now, if they have moved."
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="FOLDER",
        help="The graph may read data in this folder too, as in those that RAG_GRAPH_DATA names.",
        callback=_allow,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="The Python code that came with the run's model may run; read it first."),
]


def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="A run's YAML file, such as the config.yaml that `rag-graph init` writes.", metavar="CONFIG"
        ),
    ] = None,
    overrides: Overrides = [],  # noqa: B006 (typer reads the default, nobody changes it)
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved config and what would happen, and stop.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with a run that was stopped; it needs no CONFIG. Of a run that has finished without its figures, make them.",
        ),
    ] = None,
    accept_changed: AcceptChanged = [],  # noqa: B006
    code: Code = None,
    trust_remote_code: TrustRemoteCode = False,
    data_root: DataRoot = None,
) -> None:
    """Train: warm-up, evaluation, PPO with the graph's rewards, evaluation again; ends with a table and a run folder.

    Examples:

    `rag-graph train config.yaml`

    `rag-graph train config.yaml --set seed=1 --set reward.readout=flat`

    `rag-graph train --resume runs/tickets-seed0`

    `rag-graph train --resume runs/tickets-seed0 --accept-changed polite`
    """
    if (config is None) == (resume is None):
        raise ConfigError("give a CONFIG to start a run, or --resume RUN to resume one.")
    if resume is not None and (overrides or dry_run):
        raise ConfigError("--resume: a run goes on with the settings it began with; --set and --dry-run do not apply.")
    if resume is None and (accept_changed or code):
        raise ConfigError(
            "--accept-changed and --code are for --resume: a new run takes the code that its config names."
        )
    if resume is None and trust_remote_code:
        raise ConfigError("--trust-remote-code is for --resume: a new run takes model.trust_remote_code of its config.")
    settings = load_config(config, overrides) if config is not None else None
    if dry_run and settings is not None:
        _explain(settings)
        return

    from rag_graph.report.present import present_run
    from rag_graph.report.summary import summary_tables
    from rag_graph.runs import train as runs
    from rag_graph.runs.folder import check_places, clear_away, lacks_figures, state_of
    from rag_graph.runs.run import Run

    try:
        if resume is not None and state_of(resume) == "finished" and lacks_figures(resume):
            run = Run(resume)  # it was killed after its last result
            check_places(resume)
            clear_away(resume)
        elif resume is not None:
            run = runs.resume(
                resume, accept_changed=accept_changed, code=code, trust_remote_code=trust_remote_code, command=sys.argv
            )
        else:
            assert settings is not None
            run = runs.train(settings, command=sys.argv)
    except KeyboardInterrupt as stop:
        echo(" ".join(["interrupted.", *getattr(stop, "__notes__", [])]), err=True)
        raise typer.Exit(1) from None
    present_run(run)
    console, shown = Terminal(), Run(run.path, skip_damaged=True)
    for table in summary_tables(shown):
        console.print(table)
    for sentence in shown.damage:
        echo(f"warning: {sentence}", err=True)
    console.print(
        f"run folder: {run.path}  (report.html, curves.png, diagnostics.png, results.json, metrics.jsonl, episodes.jsonl, policy/)"
    )
    console.print(f'ask it: rag-graph ask {run.path} "..."')


def _explain(settings: RunConfig) -> None:
    from rag_graph.runs.before import check_before
    from rag_graph.runs.named_scorers import named_scorers
    from rag_graph.runs.own_parts import OwnParts

    named = named_scorers(settings)
    checked = check_before(settings, OwnParts(named=named), fetch=False)
    graph, scoring = checked.graph, checked.scoring
    ppo = settings.ppo
    echo(settings.to_yaml(), nl=False)
    echo(
        f"\n# graph {graph.name}: {len(graph.nodes)} nodes, {len(graph.spec.edges)} relations; tasks {', '.join(graph.spec.tasks)}"
    )
    warning = warning_of_run(graph, settings.reward)
    room = warnings_of_room(graph, settings.retrieval.token_budget, settings.model.max_prompt_tokens)
    for message in [*([warning] if warning else []), *room]:
        echo(f"# warning: {message}")
    if checked.price:
        echo(f"# {checked.price}")
    for node, scorer in named.items():
        echo(f"# scorer of {node}: {scorer.name}, from {scorer.file}")
    for line in asked_of_judges(scoring):
        echo(f"# {line}".rstrip())
    folder = settings.output_dir or f"runs/{settings.name}-seed{settings.seed} (numbered if taken)"
    echo(
        f"# what will happen: {settings.sft.steps} supervised steps; evaluation; {ppo.updates} PPO updates of {ppo.batch_size} episodes"
    )
    shares = [goal_share(graph, settings.reward, name) for name, task in graph.spec.tasks.items() if task.goal > 0]
    seen = " to ".join(f"{share:.0%}" for share in sorted({min(shares, default=0.0), max(shares, default=0.0)}))
    most = " at most" if settings.reward.budget.per_update is not None else ""
    if checked.data is None:
        echo("# the data on the hub were not looked at: a run fetches them")
    else:
        for note in checked.data.notes:
            echo(f"# {note}")
    echo(
        f"# ({ppo.updates * ppo.batch_size} episodes,{most} {seen} with an observed goal); evaluation; results in {folder}"
    )
