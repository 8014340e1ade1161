"""The recent episodes that the imputer learns from, and pairs of which one is preferred."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rag_graph.reward.batch import Batch
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.scores import Scores

EPISODES = 2048
"""Episodes, and pairs, that a reward remembers: 16 updates of the quickstart. Older ones are of a policy that is gone."""


class _Row(NamedTuple):
    scores: tuple[Tensor, ...]  # one row of each column of Scores
    text: Tensor  # [k, size]
    score: Tensor  # [k]
    halves: Tensor  # [K] weight for each head
    weights: Tensor | None  # [N] how much each score counts; None: all alike


class Memory:
    """
    Args:
        size: episodes, or pairs, that are kept.
        num_heads: K.
    """

    def __init__(self, size: int, num_heads: int, text_size: int) -> None:
        self._rows: deque[_Row] = deque(maxlen=size)
        self._pairs: deque[tuple[_Row, _Row]] = deque(maxlen=size)
        self.num_heads, self.text_size = num_heads, text_size

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_pairs(self) -> int:
        return len(self._pairs)

    def add(self, batch: Batch, generator: torch.Generator) -> None:
        # Double-or-nothing bootstrap: a row counts twice for about half of the heads and not at all for the others.
        halves = 2.0 * (torch.rand((len(batch.scores.tasks), self.num_heads), generator=generator) < 0.5)
        self._rows.extend(self._split(batch, halves))

    def add_pair(self, better: Batch, worse: Batch) -> None:
        """One episode each; the first is preferred."""
        ones = torch.ones((1, self.num_heads))
        self._pairs.append((self._split(better, ones)[0], self._split(worse, ones)[0]))

    def all(self) -> Scores:
        return _stack(list(self._rows))

    def weights(self) -> Tensor | None:
        """[B, N] how much each score of `all` counts (`batch.weights_of`); None: all alike."""
        return _weights(list(self._rows))

    def draw(self, size: int, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """Episodes drawn with replacement and their [B, K] weights for the heads."""
        chosen = torch.randint(len(self._rows), (min(size, len(self._rows)),), generator=generator).tolist()
        return self._join([self._rows[row] for row in chosen])

    def draw_pairs(self, size: int, generator: torch.Generator) -> tuple[Batch, Batch]:
        chosen = torch.randint(len(self._pairs), (min(size, len(self._pairs)),), generator=generator).tolist()
        better, worse = zip(*(self._pairs[row] for row in chosen), strict=True)
        return self._join(list(better))[0], self._join(list(worse))[0]

    def state_dict(self) -> dict[str, Any]:
        rows = [*self._rows, *(row for pair in self._pairs for row in pair)]
        if not rows:
            return {}
        batch, halves = self._join(rows)
        columns = {"episodes": len(self._rows), "halves": halves, "columns": list(batch.scores)}
        weights = {} if batch.weights is None else {"weights": batch.weights}
        return columns | {"contexts": list(batch.contexts)} | weights

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows.clear()
        self._pairs.clear()
        if not state:
            return
        batch = Batch(Scores(*state["columns"]), Contexts(*state["contexts"]), state.get("weights"))
        rows = self._split(batch, state["halves"])
        kept = int(state["episodes"])
        self._rows.extend(rows[:kept])
        self._pairs.extend(zip(rows[kept::2], rows[kept + 1 :: 2], strict=True))

    @staticmethod
    def _split(batch: Batch, halves: Tensor) -> list[_Row]:
        counts = torch.bincount(batch.contexts.episode, minlength=len(halves)).tolist()
        order = torch.argsort(batch.contexts.episode, stable=True)
        texts, scores = batch.contexts.text[order].split(counts), batch.contexts.score[order].split(counts)
        weights = [None] * len(halves) if batch.weights is None else list(batch.weights)
        rows = zip(zip(*batch.scores, strict=True), texts, scores, halves, weights, strict=True)
        return [_Row(*row) for row in rows]

    def _join(self, rows: list[_Row]) -> tuple[Batch, Tensor]:
        counts = torch.tensor([row.score.shape[0] for row in rows])
        scores = _stack(rows)
        text = torch.cat([row.text for row in rows]) if counts.any() else torch.zeros(0, self.text_size)
        episode = torch.repeat_interleave(torch.arange(len(rows)), counts)
        contexts = Contexts(text, episode, torch.cat([row.score for row in rows]))
        return Batch(scores, contexts, _weights(rows)), torch.stack([row.halves for row in rows])


def _stack(rows: list[_Row]) -> Scores:
    return Scores(*(torch.stack(column) for column in zip(*(row.scores for row in rows), strict=True)))


def _weights(rows: list[_Row]) -> Tensor | None:
    if all(row.weights is None for row in rows):
        return None
    alike = torch.ones(rows[0].scores[0].shape)
    return torch.stack([alike if row.weights is None else row.weights for row in rows])
