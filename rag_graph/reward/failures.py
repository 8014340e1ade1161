"""Episodes on which functions failed: how many, how many are too many, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode


def failure_metrics(episodes: Sequence[Episode], graph: AuxiliaryGraph, functions: Sequence[str]) -> dict[str, float]:
    """nodes/NODE/failed: of the episodes that a node bears on, the share on which its function failed.

    Args:
        functions: nodes that have a function of your own; others are told where they failed.
    """
    found = {}
    for node in dict.fromkeys((*functions, *(name for episode in episodes for name in episode.failed))):
        mine = [one for one in episodes if _bears_on(node, one, graph)]
        if mine:
            found[f"nodes/{node}/failed"] = sum(node in one.failed for one in mine) / len(mine)
    return found


def _bears_on(node: str, episode: Episode, graph: AuxiliaryGraph) -> bool:
    """A rubric bears on the episodes whose example has items of it."""
    criterion = graph.spec.criteria.get(node)
    if criterion is not None and criterion.items is not None and not episode.example.items.get(node):
        return node in episode.scores or node in episode.failed
    return node == episode.example.task or graph.applies(node, episode.example.task)


def too_many(episodes: Sequence[Episode], most: float) -> str:
    """What is wrong with an update in which more than a share `most` of the episodes failed, in whole or at a node; else empty."""
    bad = [episode for episode in episodes if episode.error or episode.failed]
    if not episodes or len(bad) / len(episodes) <= most:
        return ""
    nodes: dict[str, str] = {}
    count: dict[str, int] = {}
    for episode in bad:
        problems: Mapping[str, str] = {"": episode.error} if episode.error else episode.failed
        for node, problem in problems.items():
            nodes.setdefault(node, problem)
            count[node] = count.get(node, 0) + 1
    shown = "; ".join(
        f"{f'node {node!r}, ' if node else ''}{count[node]} times, first: {problem}" for node, problem in nodes.items()
    )
    return f"scorers failed on {len(bad) / len(episodes):.0%} of the episodes of an update, more than reward.max_bad_episodes = {most:g}: {shown}"
