"""Which examples are reserved: their references are seen by audits alone.

A share of the examples of every goal task is drawn by a hash of the seed and the id, so that the data, the warm-up and the reward agree without
asking each other. `load_data` keeps reserved references out of demonstrations and exemplars; `RunData.shown` keeps them from whatever else
reads references: the frozen classifiers, the texts of a new tokenizer, the warm-up of the retriever.
"""

from __future__ import annotations

import hashlib

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Example


def draw(seed: int, *what: str) -> float:
    """A number in [0, 1) that is uniform over seeds, and the same whenever the same is asked."""
    digest = hashlib.blake2b("\0".join([str(seed), *what]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_reserved(example: Example, graph: AuxiliaryGraph, share: float, seed: int) -> bool:
    """True for a share (in [0, 1)) of the examples of goal tasks, always the same ones."""
    return graph.spec.tasks[example.task].goal > 0 and draw(seed, "reserved", example.id) < share
