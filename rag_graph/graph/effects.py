"""What in a graph can have no effect: a graph without rules, and facts and rules that no goal depends on.

A rule has an effect if its target is a goal task or leads to one by rules. A fact has an effect if its target is such a node or leads to one
by facts: it then helps to predict a score that is paid. Both ends must be scored in episodes of that goal task. A strength of 0 that the
file freezes counts as removed.
"""

from __future__ import annotations

from collections.abc import Callable

import networkx

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.spec import Edge
from rag_graph.yaml_document import Location

NO_RULE = "no rule: where every goal is observed, this graph changes nothing."


def has_rules(graph: AuxiliaryGraph) -> bool:
    """True if a rule of the graph can change what an answer is worth."""
    found = _Reach(graph)
    return any(graph.role(edge) == "rule" and found.matters(edge) for edge in graph.spec.edges)


def warning_of_run(graph: AuxiliaryGraph, goal_observed: float, reserved: float = 0.0) -> str:
    """A sentence where a graph cannot change what a run pays, else an empty string.

    Args:
        goal_observed: share of episodes whose goal is observed, in [0, 1].
        reserved: share of examples whose goal is never paid, in [0, 1): there a graph of facts still predicts.
    """
    if goal_observed < 1 or has_rules(graph):
        return ""
    but = f", except on the {100 * reserved:.3g}% of the examples that are reserved" if reserved else ""
    return f"this graph can have no effect{but}: every goal is observed (reward.goal_observed: 1), and '{graph.name}' has no rule."


def without_effect(graph: AuxiliaryGraph) -> list[tuple[Location, str]]:
    """(location in the file, sentence) of each warning: the graph as a whole first, then its facts and rules in file order.

    Nothing here is an error. A file of facts alone is a good file: with it, the reward is the expected goal.
    """
    found = _Reach(graph)
    warnings: list[tuple[Location, str]] = []
    if not has_rules(graph):
        warnings.append((("edges",), NO_RULE))
    for index, edge in enumerate(graph.spec.edges):
        if graph.role(edge) != "neither" and not found.matters(edge):
            warnings.append((("edges", index), f"this {graph.role(edge)} has no effect: {found.reason(edge)}"))
    return warnings


class _Reach:
    """Which nodes lead to which goal task, by rules, and by facts and then rules."""

    def __init__(self, graph: AuxiliaryGraph) -> None:
        self.graph = graph
        self.in_play = {
            goal: {name for name in graph.nodes if graph.applies(name, goal)}
            for goal, task in graph.spec.tasks.items()
            if task.goal > 0
        }
        live = [edge for edge in graph.spec.edges if edge.strength > 0 or edge.tuned]
        self.live = frozenset((edge.source, edge.target, edge.relation) for edge in live)
        self.paid, self.useful = {}, {}
        for goal, scored in self.in_play.items():
            self.paid[goal] = _leading(live, scored, {goal}, lambda edge: graph.role(edge) == "rule")
            self.useful[goal] = _leading(live, scored, self.paid[goal], lambda edge: graph.role(edge) == "fact")

    def matters(self, edge: Edge) -> bool:
        """True if a fact or a rule can change what some answer is paid, or what is predicted of it."""
        if (edge.source, edge.target, edge.relation) not in self.live:
            return False
        reached = self.paid if self.graph.role(edge) == "rule" else self.useful
        return any(edge.source in scored and edge.target in reached[goal] for goal, scored in self.in_play.items())

    def reason(self, edge: Edge) -> str:
        """Why it does not."""
        rule, target = self.graph.role(edge) == "rule", self.graph.spec.tasks.get(edge.target)
        if (edge.source, edge.target, edge.relation) not in self.live:
            return "its strength is 0, and 'tuned: false' keeps it there."
        if target is not None and target.goal == 0:
            return f"'{edge.target}' is no goal task. Give it 'goal:' above 0, or remove the relation."
        together = any({edge.source, edge.target} <= scored for scored in self.in_play.values())
        if not together:
            return f"'{edge.source}' and '{edge.target}' are never scored in the same episode of a goal task."
        if rule and any(edge.target in useful for useful in self.useful.values()):
            return f"no goal depends on '{edge.target}' by a rule; facts use its score as it is."
        return f"no goal task depends on '{edge.target}'{' by rules' if rule else ''}."


def _leading(edges: list[Edge], scored: set[str], ends: set[str], chosen: Callable[[Edge], bool]) -> set[str]:
    """The ends, and the scored nodes that lead to one of them along chosen edges between scored nodes."""
    backwards = networkx.DiGraph()
    backwards.add_nodes_from(ends)
    backwards.add_edges_from(
        (edge.target, edge.source) for edge in edges if chosen(edge) and {edge.source, edge.target} <= scored
    )
    return {node for end in ends for node in (end, *networkx.descendants(backwards, end))}
