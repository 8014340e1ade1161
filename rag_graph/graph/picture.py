"""Shows a graph: as a tree and a table in the terminal, and as a drawing. Facts, rules and neither look different everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag_graph.errors import GraphFileError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import GraphSource, load_graph
from rag_graph.graph.spec import Role, Semantics

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

    from rag_graph.figure import Picture

# Okabe & Ito (2008): colour-blind readers can distinguish them too.
KIND_STYLE = {"task": ("#0072B2", "o"), "criterion": ("#E69F00", "s"), "context": ("#999999", "D")}
SEMANTICS_COLOR: dict[Semantics, str] = {
    "bound": "#D55E00",
    "indication": "#009E73",
    "counterindication": "#CC79A7",
    "gate": "#D55E00",
    "credit": "#009E73",
    "penalty": "#CC79A7",
    "message": "#BBBBBB",
    "aggregate": "#56B4E9",
    "evidence": "#555555",
}
"""A fact has the colour of the rule that reads like it."""
ROLE_LINE: dict[Role, tuple[float, tuple[float, ...]]] = {"rule": (0, ()), "fact": (0, (4, 2)), "neither": (0, (1, 2))}
"""Offset and dashes of a line for matplotlib: rules solid, facts dashed, neither dotted."""
PICTURES = (".svg", ".png", ".pdf")
MOST_NODES, MOST_EDGES = 300, 2000
MAX_HEIGHT_INCHES = 60


def task_tree(graph: AuxiliaryGraph) -> Tree:
    """Each task with the nodes that have an edge to it, and whether that edge is a fact, a rule or neither."""
    from rich.tree import Tree

    from rag_graph.terminal import styled

    tree = Tree(styled((graph.name, "bold"), f"  {graph.spec.title}"))
    for name, task in graph.spec.tasks.items():
        goal = f"goal {task.goal:g}" if task.goal else "auxiliary"
        asked = asking(graph, name)
        about = ", ".join([*([task.kind] if task.kind else []), goal, *(task.metrics or ["external"]), *asked])
        branch = tree.add(styled((name, "bold"), f"  {task.title}  ", (about, "dim")))
        for edge in graph.spec.edges:
            if edge.target == name:
                notes = [*([] if edge.tuned else ["frozen"]), *asking(graph, edge.source)]
                branch.add(
                    styled(
                        f"{edge.source} ",
                        (f"{edge.relation} ({graph.role(edge)})", "dim"),
                        f" {edge.strength:g}",
                        *((f" {part}", "dim") for part in notes),
                    )
                )
    return tree


def asking(graph: AuxiliaryGraph, node: str) -> list[str]:
    """What a node's score costs, and on how many answers it is asked for, where the file says so."""
    one = graph.spec.tasks.get(node) or graph.spec.criteria.get(node)
    if one is None:
        return []
    cost = [f"cost {one.cost:g}"] if one.cost else []
    return cost + ([f"on {one.observe:.0%} of answers"] if one.observe not in (None, 1.0) else [])


def relation_table(graph: AuxiliaryGraph) -> Table:
    """One relation per row, in file order."""
    from rich.table import Table

    from rag_graph.terminal import styled

    table = Table("from", "relation", "role", "to", "strength", "tuned", "meaning", box=None, header_style="bold")
    for edge in graph.spec.edges:
        meaning = graph.relation_types[edge.relation].semantics
        table.add_row(
            *map(styled, (edge.source, edge.relation, graph.role(edge), edge.target, f"{edge.strength:g}")),
            "yes" if edge.tuned else "no",
            meaning,
        )
    return table


def positions(graph: AuxiliaryGraph) -> dict[str, tuple[float, float]]:
    """Node -> (x, y) with y below 0: criteria left, tasks in the middle, contexts right. Within a column, nodes are near the targets of their edges."""
    columns: dict[str, list[str]] = {"criterion": [], "task": [], "context": []}
    for name, kind in graph.kinds.items():
        columns[kind].append(name)
    height = {name: row for row, name in enumerate(columns["task"])}
    order: dict[str, list[str]] = {"task": columns["task"]}
    for kind in ("criterion", "context"):
        pull = {}
        for name in columns[kind]:
            related = [height[e.target] for e in graph.spec.edges if e.source == name and e.target in height]
            pull[name] = sum(related) / len(related) if related else len(height) / 2
        order[kind] = sorted(columns[kind], key=lambda name: (pull[name], name))
    tallest = max(map(len, columns.values()))
    present = [kind for kind in columns if columns[kind]]
    return {
        name: (present.index(kind) * 1.6, -(row + 0.5) * tallest / len(order[kind]))
        for kind in present
        for row, name in enumerate(order[kind])
    }


def draw_graph(graph: GraphSource, out: str | Path | None = None) -> Picture:
    """Draw the graph: rules as solid lines, facts dashed, neither dotted.

    Args:
        graph: whatever `load_graph` takes.
        out: where it is written too; the ending of the file selects the format.

    Returns:
        A matplotlib figure, which a notebook shows.

    Raises:
        GraphFileError: a graph with problems, another ending than .svg, .png, .pdf, or a folder that does not exist.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch

    from rag_graph.figure import Picture

    graph = load_graph(graph)
    if len(graph.nodes) > MOST_NODES or len(graph.spec.edges) > MOST_EDGES:
        raise GraphFileError(
            f"'{graph.name}' has {len(graph.nodes)} nodes and {len(graph.spec.edges)} relations: a picture of more than {MOST_NODES} nodes or {MOST_EDGES} "
            "relations shows nothing. `rag-graph graph show` lists them; `rag-graph graph convert` writes GraphML, for tools that draw large graphs."
        )
    if out is not None and Path(out).suffix not in PICTURES:
        raise GraphFileError(f"{out}: unknown kind of picture '{Path(out).suffix}'. Known: {', '.join(PICTURES)}")
    if out is not None and not Path(out).parent.is_dir():
        raise GraphFileError(f"{out}: no such folder: {Path(out).parent}")
    places = positions(graph)
    tallest = max(-y for _, y in places.values()) + 0.5
    figure = Picture(figsize=(9.5, min(1.5 + 0.95 * tallest, MAX_HEIGHT_INCHES)))
    axes = figure.subplots()
    drawn: dict[tuple[str, str], int] = {}
    for edge in graph.spec.edges:
        relation = graph.relation_types[edge.relation]
        pair = (min(edge.source, edge.target), max(edge.source, edge.target))
        drawn[pair] = drawn.get(pair, 0) + 1
        same_column = places[edge.source][0] == places[edge.target][0]
        bend = (-0.45 if same_column else 0.04) + 0.14 * (drawn[pair] - 1)
        arrow = FancyArrowPatch(
            places[edge.source], places[edge.target], connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=13,
            linewidth=0.6 + 3.2 * edge.strength, color=SEMANTICS_COLOR[relation.semantics], shrinkA=17, shrinkB=19,
            linestyle=ROLE_LINE[relation.role], alpha=0.9, zorder=1,
        )  # fmt: skip
        axes.add_patch(arrow)
    for name, (x, y) in places.items():
        color, marker = KIND_STYLE[graph.kinds[name]]
        axes.scatter([x], [y], s=620, c=color, marker=marker, edgecolors="white", linewidths=1.5, zorder=2)
        axes.text(
            x,
            y - 0.3,
            name,
            ha="center",
            va="top",
            fontsize=10,
            zorder=3,
            parse_math=False,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )
    kinds = [
        Line2D([], [], marker=m, color=c, linestyle="", markersize=9, label=k)
        for k, (c, m) in KIND_STYLE.items()
        if k in graph.kinds.values()
    ]
    used = {edge.relation for edge in graph.spec.edges}
    lines = [
        Line2D(
            [],
            [],
            color=SEMANTICS_COLOR[relation.semantics],
            linewidth=2.5,
            linestyle=ROLE_LINE[relation.role],
            label=f"{name} ({relation.role})",
        )
        for name, relation in graph.relation_types.items()
        if name in used
    ]
    axes.legend(
        handles=kinds + lines,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncol=4,
        frameon=False,
        fontsize=9,
        handlelength=3.2,
    )
    title = (
        "".join(c for c in graph.spec.title if c.isprintable()) or graph.name
    )  # XML does not allow control characters
    axes.set_title(title, fontsize=12, parse_math=False)
    axes.set_xlim(-0.6, max(x for x, _ in places.values()) + 0.9)
    axes.set_ylim(-tallest - 0.4, 0.2)
    axes.axis("off")
    figure.write(out, dpi=150)
    return figure
