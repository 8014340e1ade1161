"""Scored episodes as tensors, with what was retrieved for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings


class Batch(NamedTuple):
    """Scores of episodes and what was retrieved for them."""

    scores: Scores
    contexts: Contexts

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
        return Batch(Scores(*(column[list(chosen)] for column in self.scores)), contexts)


def batch_of(episodes: Sequence[Episode], graph: AuxiliaryGraph, embeddings: TextEmbeddings, text_size: int) -> Batch:
    """Reserved goals are not in it.

    Args:
        text_size: numbers of one embedding; needed where nothing was retrieved.
    """
    size = len(graph.nodes)
    values, retrieved = torch.zeros(len(episodes), size), torch.zeros(len(episodes), size)
    observed = torch.zeros(len(episodes), size, dtype=torch.bool)
    tasks = torch.tensor([graph.index[episode.example.task] for episode in episodes], dtype=torch.long)
    pieces = []
    for row, episode in enumerate(episodes):
        for name, value in episode.scores.items():
            values[row, graph.index[name]] = value
            observed[row, graph.index[name]] = True
        for piece in episode.evidence:
            column = graph.index[piece.context.node]
            retrieved[row, column] = max(float(retrieved[row, column]), 1 / piece.rank)
            pieces.append((row, piece.context, 1 / piece.rank))
    contexts = Contexts(
        embeddings.of_contexts([context for _, context, _ in pieces]) if pieces else torch.zeros(0, text_size),
        torch.tensor([row for row, _, _ in pieces], dtype=torch.long),
        torch.tensor([weight for _, _, weight in pieces], dtype=torch.float32),
    )
    return Batch(Scores(values, observed, retrieved, tasks), contexts)
