"""The auxiliary graph: its specification, and the arrays in file order that encoders and readouts use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx
import numpy as np
from numpy.typing import NDArray

from rag_graph.display import count, html_table, one_line
from rag_graph.graph.build import content_of, content_of_networkx
from rag_graph.graph.exchange import to_yaml, write_graph
from rag_graph.graph.spec import BLOCK_OF, Edge, GraphSpec, NodeKind, Relation, Role, Semantics
from rag_graph.graph.validate import checked_spec


@dataclass(frozen=True, eq=False)
class AuxiliaryGraph:
    """A directed multigraph of tasks, criteria and contexts with typed, weighted relations.

    nodes: N names in file order (tasks, criteria, contexts).
    edge_index: int64 [2, E], row 0 sources, row 1 targets.
    relation: int64 [E], index into `relation_names`.
    strength: float32 [E] in [0, 1].
    tuned: bool [E], False if the file freezes the strength.

    Two graphs are equal if their specifications are equal.
    """

    spec: GraphSpec
    root: Path = field(default_factory=Path, compare=False)
    """The folder to which relative paths in the specification refer."""
    origin: Path | str | None = field(default=None, compare=False)
    """The file, or the YAML text, that it was read from; None where it was built in Python. Messages find the place of an entry there."""

    @classmethod
    def build(
        cls,
        tasks: Mapping[str, Any],
        criteria: Mapping[str, Any] | Iterable[str] = (),
        edges: Iterable[Any] = (),
        *,
        contexts: Mapping[str, Any] | None = None,
        relations: Mapping[str, Any] | None = None,
        name: str = "graph",
        title: str = "",
        root: str | Path = ".",
    ) -> AuxiliaryGraph:
        """Make a graph without a file, with the checks of one.

        Every entry is a map with the keys of a graph file, or a short form of it:

            AuxiliaryGraph.build(
                tasks={"correct": 1.0}, criteria=["form", "length"], edges=[("form", "correct", "prerequisite", 0.9)]
            )

        Args:
            tasks: name -> its goal weight, or its keys.
            criteria: names; or name -> its metric, or its keys.
            edges: (from, to, relation), (from, to, relation, strength), or a map with these keys and `tuned`.
            contexts, relations: name -> its keys.
            root: the folder that paths in the graph start from.

        Raises:
            GraphFileError: with every problem on a line of its own, `edges[0].from: what`.
        """
        content = content_of(tasks, criteria, edges, contexts, relations, name, title)
        return cls(checked_spec(content, Path(root)), Path(root))

    @classmethod
    def from_networkx(cls, graph: networkx.Graph, root: str | Path = ".") -> AuxiliaryGraph:
        """Make a graph of a directed networkx graph; the inverse of `networkx`.

        A graph made by hand needs little. A node with the attribute `kind`: task, criterion or context (without it, a node with a `goal` is a
        task, and every other a criterion), and with the keys of a graph file, such as `metric`. An edge with `relation` (in a multigraph its key
        is read too), and if wanted `strength` and `tuned`:

            drawn = networkx.DiGraph(name="qa")
            drawn.add_node("correct", goal=1.0)
            drawn.add_edge("form", "correct", relation="prerequisite", strength=0.9)
            graph = AuxiliaryGraph.from_networkx(drawn)

        Args:
            root: the folder that paths in the graph start from.

        Raises:
            GraphFileError: an undirected graph, a node or an edge that cannot be read, or any problem of a graph file, one a line.
        """
        return cls(checked_spec(content_of_networkx(graph), Path(root)), Path(root))

    def to_yaml(self) -> str:
        """The graph as a graph file: includes merged, defaults left out, one relation a line. `load_graph` reads an equal graph from it."""
        return to_yaml(self.spec)

    def save(self, path: str | Path) -> Path:
        """Write the graph to a file, over what is there. The ending selects the format: .yaml, .json (node-link), .graphml.

        Raises:
            GraphFileError: another ending, or a folder that does not exist.
        """
        return write_graph(self.spec, Path(path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AuxiliaryGraph) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash((self.spec.name, self.nodes, len(self.spec.edges)))

    def __repr__(self) -> str:
        return one_line("AuxiliaryGraph", repr(self.name), self._counts())

    def _repr_html_(self) -> str:
        spec = self.spec
        rows = [(e.source, e.relation, self.role(e), e.target, f"{e.strength:g}") for e in spec.edges]
        goals = ", ".join(f"{name} {task.goal:g}" for name, task in spec.tasks.items() if task.goal)
        caption = f"{self.name}: {self._counts()}"
        return html_table(
            caption, ("from", "relation", "role", "to", "strength"), rows, [f"goals: {goals}"] if goals else []
        )

    def _counts(self) -> str:
        spec = self.spec
        found = (
            count(len(spec.tasks), "task"),
            count(len(spec.criteria), "criterion", "criteria"),
            count(len(spec.contexts), "context"),
            count(len(spec.edges), "relation"),
        )
        return ", ".join(part for part in found if part)

    @property
    def name(self) -> str:
        return self.spec.name

    @cached_property
    def kinds(self) -> dict[str, NodeKind]:
        return self.spec.node_kinds()

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    @cached_property
    def index(self) -> dict[str, int]:
        """Node name -> its position in `nodes`."""
        return {name: position for position, name in enumerate(self.nodes)}

    @cached_property
    def relation_types(self) -> dict[str, Relation]:
        return self.spec.relation_types()

    @cached_property
    def relation_names(self) -> tuple[str, ...]:
        return tuple(self.relation_types)

    @cached_property
    def edge_index(self) -> NDArray[np.int64]:
        pairs = [(self.index[edge.source], self.index[edge.target]) for edge in self.spec.edges]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2).T.copy()

    @cached_property
    def relation(self) -> NDArray[np.int64]:
        return np.array([self.relation_names.index(edge.relation) for edge in self.spec.edges], dtype=np.int64)

    @cached_property
    def strength(self) -> NDArray[np.float32]:
        return np.array([edge.strength for edge in self.spec.edges], dtype=np.float32)

    @cached_property
    def tuned(self) -> NDArray[np.bool_]:
        return np.array([edge.tuned for edge in self.spec.edges], dtype=bool)

    @cached_property
    def networkx(self) -> networkx.MultiDiGraph:
        """The same graph for networkx, complete: `from_networkx` reads it back.

        Node attributes `kind` (task, criterion, context), `title`, and `spec`, what the file says of it. Edge key = relation; attributes `role`
        (fact, rule, neither), `strength`, `tuned`, and `order`, the position in the file. Graph attributes `name`, `title`, `relations`.
        """
        stated = self.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        whole = {key: stated[key] for key in ("title", "relations") if key in stated}
        graph = networkx.MultiDiGraph(name=self.name, **whole)
        for name, kind in self.kinds.items():
            graph.add_node(name, kind=kind, title=self.title(name), spec=stated[BLOCK_OF[kind]][name])
        for order, edge in enumerate(self.spec.edges):
            told = {"role": self.role(edge), "strength": edge.strength, "tuned": edge.tuned, "order": order}
            graph.add_edge(edge.source, edge.target, key=edge.relation, **told)
        return graph

    def edges_of(self, *semantics: Semantics) -> NDArray[np.int64]:
        """Positions of the edges whose relation has one of these semantics."""
        types = list(self.relation_types.values())
        return np.array([e for e, r in enumerate(self.relation) if types[r].semantics in semantics], dtype=np.int64)

    def role(self, edge: Edge) -> Role:
        """fact, rule or neither: what an edge is by its relation."""
        return self.relation_types[edge.relation].role

    def title(self, name: str) -> str:
        """The title of a node, or its name if the file has no title."""
        return getattr(self.spec, BLOCK_OF[self.kinds[name]])[name].title or name

    def applies(self, name: str, task: str) -> bool:
        """True if a node can be scored in an episode of `task`: the task itself, or a criterion that applies to it."""
        if name == task:
            return True
        criterion = self.spec.criteria.get(name)
        return criterion is not None and (not criterion.applies_to or task in criterion.applies_to)

    def grounding(self, task: str) -> dict[str, float]:
        """Context -> strength of its `grounds` edge (or of any relation of evidence) into `task`."""
        found: dict[str, float] = {}
        for edge in self.edges_of("evidence"):
            stated = self.spec.edges[edge]
            if stated.target == task and stated.strength > 0:  # an edge of strength 0 counts as removed
                found[stated.source] = max(found.get(stated.source, 0.0), stated.strength)
        return found

    def gate_order(self) -> list[int]:
        """Node positions, every prerequisite before what depends on it.

        Raises:
            networkx.NetworkXUnfeasible: prerequisites form a cycle (the reader refuses such a file).
        """
        gates = networkx.DiGraph()
        gates.add_nodes_from(range(len(self.nodes)))
        gates.add_edges_from(self.edge_index[:, e] for e in self.edges_of("gate"))
        return list(networkx.lexicographical_topological_sort(gates))

    def with_strengths(self, strengths: Sequence[float] | NDArray[np.float32]) -> AuxiliaryGraph:
        """A new graph whose edges have these strengths, in file order. The file does not change.

        Raises:
            ValueError: another number of strengths than edges, or one outside [0, 1].
        """
        values = [float(value) for value in strengths]
        if len(values) != len(self.spec.edges):
            raise ValueError(f"{len(values)} strengths for {len(self.spec.edges)} edges")
        if not all(0 <= value <= 1 for value in values):
            raise ValueError("a strength is a number from 0 to 1")
        edges = tuple(
            edge.model_copy(update={"strength": value}) for edge, value in zip(self.spec.edges, values, strict=True)
        )
        return AuxiliaryGraph(self.spec.model_copy(update={"edges": edges}), self.root, self.origin)
