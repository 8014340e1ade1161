"""A stored pool as arrays by prompt: its parts, its masks, and the cells in which readouts are judged."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measures import Array
from pools import GRAPHS, Row, read_pool

from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.records import Episode, Example

SHARES = (0.3, 0.1, 0.03, 0.01)
HIDDEN = (0.0, 0.5)
TRAIN_PROMPTS = 128
"""Prompts whose answers a readout is fitted on: 2,048 answers of 16, as many as a reward remembers."""
Judged = dict[str, Array]
"""readout -> [cells, metrics, prompts], NaN where a prompt was not judged; readout/kl -> [cells, policies]; readout/seconds -> [cells]."""


class Cell(NamedTuple):
    """share: of the goals that are seen; hidden: share of the criteria that are hidden, in training and in judging."""

    share: float
    hidden: float


CELLS = tuple(Cell(share, hidden) for hidden in HIDDEN for share in SHARES)


class Stored:
    """A stored pool by prompt: goals [G, K], and the rest in the same order. A prompt with fewer answers than the others is left out."""

    def __init__(self, name: str, rows: Sequence[Row], graph: AuxiliaryGraph) -> None:
        self.name, self.graph = name, graph
        (self.task,) = graph.spec.tasks
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.group, []).append(row)
        self.answers = max(map(len, groups.values()))
        self.groups = {group: mine for group, mine in groups.items() if len(mine) == self.answers}
        self.goals = np.array([[row.goal for row in mine] for mine in self.groups.values()])
        firsts = [mine[0] for mine in self.groups.values()]
        self.is_dev = np.array([row.part == "dev" for row in firsts])
        _, self.sources = np.unique([row.source or row.group for row in firsts], return_inverse=True)
        self.episodes = [
            [
                Episode(row.id, Example(group, self.task, {"input": ""}), "", row.response, truncated=not row.ended)
                for row in mine
            ]
            for group, mine in self.groups.items()
        ]  # fmt: skip
        self.scores = [[row.scores for row in mine] for mine in self.groups.values()]

    def split(self, part: str, mask: int) -> tuple[list[int], list[int]]:
        """(prompts to fit on, prompts to judge). All those to fit on are of the dev part; no source is on both sides."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), mask])
        dev = np.unique(self.sources[self.is_dev])
        limit = min(TRAIN_PROMPTS, int(self.is_dev.sum()) // 2)
        fit: list[int] = []
        for source in rng.permutation(dev):
            fit += np.flatnonzero(self.sources == source).tolist()
            if len(fit) >= limit:
                break
        seen = np.isin(self.sources, self.sources[fit])
        judged = ~self.is_dev if part == "test" else self.is_dev & ~seen
        return fit, np.flatnonzero(judged).tolist()

    def visible(self, hidden: float, mask: int) -> list[list[dict[str, float]]]:
        """The criteria of each answer that are seen under a mask."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), mask, 1])
        names = list(self.graph.spec.criteria)
        drawn = rng.random((len(self.scores), self.answers, len(names))) >= hidden
        return [
            [{n: row[n] for n, seen in zip(names, keep, strict=True) if seen and n in row} for row, keep in zip(mine, rows, strict=True)]
            for mine, rows in zip(self.scores, drawn.tolist(), strict=True)
        ]  # fmt: skip


@lru_cache(maxsize=1)  # the jobs of a process are mostly of one pool
def load_pool(folder: Path, name: str) -> Stored:
    return Stored(name, read_pool(folder / f"{name}.jsonl"), load_graph(GRAPHS / f"{name}.yaml"))
