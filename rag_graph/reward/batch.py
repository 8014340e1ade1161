"""Scored episodes as tensors, with what was retrieved for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rag_graph.display import count, one_line
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.scores import ABSENT, Scores
from rag_graph.reward.text import TextEmbeddings

MOST_WEIGHT = 10.0
"""A score that was unlikely to be asked for counts for so many of the usual ones at most: one lucky draw must not rule a fit. With the least probability
`reward.budget.floor` = .05 the bound is met only by nodes that are asked for on more than half of the episodes."""


class Batch(NamedTuple):
    """Scores of episodes and what was retrieved for them."""

    scores: Scores
    contexts: Contexts
    weights: Tensor | None = None
    """[B, N] how much an observed score counts in a fit, see `weights_of`; None: all alike."""

    def __repr__(self) -> str:
        rows, nodes = self.scores.values.shape
        return one_line(
            "Batch", count(rows, "episode"), count(nodes, "node"), f"{int(self.scores.observed.sum())} scores"
        )

    def rows(self, chosen: Sequence[int]) -> Batch:
        """Some of the episodes, in this order; one may come twice."""
        of_row: dict[int, list[int]] = {}
        for place, row in enumerate(self.contexts.episode.tolist()):
            of_row.setdefault(row, []).append(place)
        places = [(place, new) for new, row in enumerate(chosen) for place in of_row.get(row, [])]
        taken = [place for place, _ in places]
        contexts = Contexts(
            self.contexts.text[taken],
            torch.tensor([new for _, new in places], dtype=torch.long),
            self.contexts.score[taken],
        )
        weights = None if self.weights is None else self.weights[list(chosen)]
        return Batch(Scores(*(column[list(chosen)] for column in self.scores)), contexts, weights)


def batch_of(episodes: Sequence[Episode], graph: AuxiliaryGraph, embeddings: TextEmbeddings, text_size: int) -> Batch:
    """Reserved goals are not in it.

    Args:
        text_size: numbers of one embedding; needed where nothing was retrieved.
    """
    shape = (len(episodes), len(graph.nodes))
    tasks = torch.tensor([graph.index[episode.example.task] for episode in episodes], dtype=torch.long)
    cells: dict[tuple[int, int], float] = {}
    shown: dict[tuple[int, int], float] = {}
    pieces = []
    for row, episode in enumerate(episodes):
        for name, value in episode.scores.items():
            cells[row, graph.index[name]] = value
        for piece in episode.evidence:
            cell = row, graph.index[piece.context.node]
            shown[cell] = max(shown.get(cell, 0.0), 1 / piece.rank)
            pieces.append((row, piece.context, 1 / piece.rank))
    values, observed = _filled(cells, shape)
    values = torch.where(without_items(episodes, graph) & ~observed, ABSENT, values)
    retrieved, _ = _filled(shown, shape)
    contexts = Contexts(
        embeddings.of_contexts([context for _, context, _ in pieces]) if pieces else torch.zeros(0, text_size),
        torch.tensor([row for row, _, _ in pieces], dtype=torch.long),
        torch.tensor([weight for _, _, weight in pieces], dtype=torch.float32),
    )
    return Batch(Scores(values, observed, retrieved, tasks), contexts, weights_of(episodes, graph))


def weights_of(episodes: Sequence[Episode], graph: AuxiliaryGraph) -> Tensor | None:
    """[B, N] how much an observed score counts: the mean inclusion probability of its node over the episodes that it bears on, divided by its own
    (`Episode.probabilities`), at most MOST_WEIGHT. None where all count alike.

    A sum of observed scores by these weights is in expectation the sum over all episodes, times that mean; so a mean by them is the Hajek estimate.
    Where all episodes have one probability the weights are 1 and nothing changes.
    """
    named = {node for episode in episodes for node in episode.probabilities}
    if not named:
        return None
    weights = torch.ones((len(episodes), len(graph.nodes)), dtype=torch.float64)
    for node in sorted(named):
        bears = [node == episode.example.task or graph.applies(node, episode.example.task) for episode in episodes]
        mine = torch.tensor(bears)
        own = torch.tensor([episode.probabilities.get(node, 1.0) for episode in episodes], dtype=torch.float64)
        if not bool((own[mine] == own[mine][0]).all()):
            ratio = own[mine].mean() / own.clamp(min=1e-12)
            weights[:, graph.index[node]] = torch.where(mine, ratio.clamp(max=MOST_WEIGHT), 1.0)
    return weights.float() if bool((weights != 1).any()) else None


def without_items(episodes: Sequence[Episode], graph: AuxiliaryGraph) -> Tensor:
    """bool [B, N], True at a rubric whose items the episode's example lacks and whose score is not known either."""
    found = torch.zeros((len(episodes), len(graph.nodes)), dtype=torch.bool)
    rubrics = [name for name, criterion in graph.spec.criteria.items() if criterion.items is not None]
    for node in rubrics:
        known = [bool(episode.example.items.get(node)) or node in episode.scores for episode in episodes]
        found[:, graph.index[node]] = ~torch.tensor(known, dtype=torch.bool)
    return found


def _filled(cells: Mapping[tuple[int, int], float], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Numbers by (row, column) -> the matrix of them, 0 elsewhere, and where there is one. Writing them one by one into a tensor would take most
    of the time of a fit."""
    values, known = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    if cells:
        at = tuple(torch.tensor(list(cells)).T)
        values[at], known[at] = torch.tensor(list(cells.values()), dtype=torch.float32), True
    return values, known
