"""`rag-graph graph ...`: check, show, draw, convert, apply, schema. Loads no torch.

Facts help to predict scores that were not observed; rules change what an answer is worth. Every command that shows a relation says which it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from rag_graph.errors import GraphFileError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import check_graph, find_graph, graph_warnings, load_graph
from rag_graph.graph.schema import graph_schema
from rag_graph.graph.spec import Role, relative_paths
from rag_graph.runtime import write_atomically
from rag_graph.terminal import Terminal, echo

MOST_WARNINGS = 100

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Check, show, draw and convert graph-definition files."
)

GraphArgument = Annotated[
    str, typer.Argument(help="A graph-definition file, or the name of a shipped graph: parcels, news, four_tasks.")
]


@app.command()
def check(
    files: Annotated[
        list[str], typer.Argument(help="Graph-definition files, or names of shipped graphs.", metavar="FILE...")
    ],
) -> None:
    """Report every problem of graph files, each with file, line and column; exit 2 if there is any.

    Warnings say what can have no effect: a graph without rules, where every goal is observed; a fact or a rule that no goal depends on. They
    do not change the exit code.

    Example: `rag-graph graph check goals.yaml`
    """
    wrong = 0
    for name in files:
        try:
            graph, problems = check_graph(find_graph(name))
        except GraphFileError as error:
            echo(str(error))
            wrong += 1
            continue
        for problem in problems:
            echo(str(problem))
        wrong += graph is None
        if graph is not None:
            warnings = graph_warnings(name)
            for warning in warnings[:MOST_WARNINGS]:
                echo(str(warning))
            if len(warnings) > MOST_WARNINGS:
                echo(f"warning: {len(warnings) - MOST_WARNINGS} more of these are not shown.")
            echo(
                f"{name}: ok, {len(graph.nodes)} nodes, {len(graph.spec.edges)} relations: {_roles(graph)}{_prices(graph)}"
            )
    raise typer.Exit(2 if wrong else 0)


def _roles(graph: AuxiliaryGraph) -> str:
    """2 facts, 1 rule, 3 neither."""
    found = [graph.role(edge) for edge in graph.spec.edges]
    facts, rules, neither = (found.count(role) for role in get_args(Role))
    return f"{facts} fact{'s' * (facts != 1)}, {rules} rule{'s' * (rules != 1)}, {neither} neither"


def _prices(graph: AuxiliaryGraph) -> str:
    """; cost of a score: reply 2, kind 0.1."""
    costs = {name: task.cost for name, task in graph.spec.tasks.items()}
    costs |= {name: criterion.cost for name, criterion in graph.spec.criteria.items()}
    shown = [f"{name} {cost:g}" for name, cost in costs.items() if cost]
    return f"; cost of a score: {', '.join(shown)}" if shown else ""


@app.command()
def show(graph: GraphArgument) -> None:
    """Print a graph as a tree of tasks with their relations, and as a table of relations; each is a fact, a rule or neither.

    Example: `rag-graph graph show parcels`
    """

    from rag_graph.graph.picture import relation_table, task_tree

    console, loaded = Terminal(), load_graph(graph)
    console.print(task_tree(loaded))
    console.print(relation_table(loaded))


@app.command()
def draw(
    graph: GraphArgument, out: Annotated[Path, typer.Argument(help="The picture to write: .svg, .png or .pdf")]
) -> None:
    """Draw a graph. Colour and shape of a node show its kind. Of an edge, colour shows the relation and width the strength; rules are solid,
    facts dashed, neither dotted.

    Example: `rag-graph graph draw parcels parcels.svg`
    """
    from rag_graph.graph.picture import draw_graph

    draw_graph(load_graph(graph), out)
    echo(f"wrote {out}")


@app.command()
def convert(
    graph: Annotated[
        str, typer.Argument(help="A .yaml, .json (node-link) or .graphml file, or the name of a shipped graph.")
    ],
    out: Annotated[
        Path, typer.Argument(help="The file to write; its ending selects the format: .yaml, .json, .graphml")
    ],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Convert between graph-definition YAML, node-link JSON and GraphML, without loss; comments and includes are not kept.

    Example: `rag-graph graph convert parcels parcels.graphml`
    """
    if out.exists() and not force:
        raise GraphFileError(f"{out}: exists already. Choose another name, or --force to write over it.")
    loaded = load_graph(graph)
    loaded.save(out)
    echo(f"wrote {out}")
    beside = [path for path in relative_paths(loaded.spec) if (loaded.root / path).is_file()]
    if beside and out.parent.resolve() != loaded.root.resolve():
        echo(f"note: paths in a graph start from its own folder; take these along: {', '.join(beside)}", err=True)


@app.command()
def apply(
    strengths: Annotated[Path, typer.Argument(help="A run's folder, or a strengths.yaml.", metavar="RUN")],
    graph: Annotated[Path, typer.Argument(help="The graph-definition file to change.", metavar="FILE")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and stop.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Change strengths that the file has changed since the run, too.")
    ] = False,
    only: Annotated[
        list[str],
        typer.Option("--only", metavar="SOURCE>TARGET", help="Only relations between these two nodes. Repeatable."),
    ] = [],  # noqa: B006 (typer reads the default, nobody changes it)
) -> None:
    """Put the strengths that a run learned into a graph file. Only these numbers change; comments and layout stay.

    Examples:

    `rag-graph graph apply runs/tickets-seed0 goals.yaml --dry-run`

    `rag-graph graph apply runs/tickets-seed0 goals.yaml --only "on_topic>reply"`
    """
    from rag_graph.graph.strengths import apply_strengths, read_strengths, strengths_between

    learned = read_strengths(strengths / "strengths.yaml" if strengths.is_dir() else strengths)
    if only:
        learned = strengths_between(learned, only)
    texts, changes = apply_strengths(graph, learned, force)
    for change in changes:
        echo(str(change))
    if not changes:
        echo("nothing to change")
    if not dry_run:
        for file, text in texts.items():
            write_atomically(file.resolve(), text)  # through a link, not over it
            echo(f"wrote {file}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of graph-definition files, for editors.

    Example: `rag-graph graph schema > graph.schema.json`
    """
    echo(graph_schema(), nl=False)
