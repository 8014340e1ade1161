"""Search in embeddings with one protocol: exact in NumPy, or approximate by faiss; `rag_graph.retrieval.milvus` has Milvus.

Every vector has a key, a whole number that does not change when other vectors are deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import DataError, need
from rag_graph.retrieval.base import largest

Vectors = NDArray[np.float32]
Keys = NDArray[np.int64]
BLOCK = 64
"""Number of queries that are multiplied with the matrix at once."""
DECIMALS = 6
"""Decimals of similarities, so that equal passages tie in spite of rounding."""
TIES = 16
"""Additional hits from engines that break ties in their own way."""


class VectorStore(Protocol):
    """Vectors of length 1, searched by inner product."""

    @property
    def dimension(self) -> int: ...

    def search(self, queries: Vectors, k: int) -> list[tuple[Keys, Vectors]]:
        """For each row of `queries` [Q, dimension] the keys and similarities of the `k` nearest or fewer, best first, ties by key. Vectors
        with a cosine of 0 or less may be left out."""
        ...

    def add(self, vectors: Vectors, keys: Keys) -> None:
        """The keys are new, and larger than all existing keys."""
        ...

    def delete(self, keys: Keys) -> None: ...


class ExactVectors:
    """The default: one matrix product per block of queries. The matrix may be memory-mapped."""

    def __init__(self, vectors: Vectors, keys: Keys) -> None:
        self.vectors, self.keys = vectors, keys

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    def search(self, queries: Vectors, k: int) -> list[tuple[Keys, Vectors]]:
        answers = []
        for start in range(0, len(queries), BLOCK):
            for scores in (queries[start : start + BLOCK] @ self.vectors.T).round(DECIMALS):
                best = largest(scores, k)
                answers.append((self.keys[best], scores[best]))
        return answers

    def add(self, vectors: Vectors, keys: Keys) -> None:
        self.vectors = np.concatenate([self.vectors, vectors])
        self.keys = np.concatenate([self.keys, keys])

    def delete(self, keys: Keys) -> None:
        kept = ~np.isin(self.keys, keys)
        self.vectors, self.keys = self.vectors[kept], self.keys[kept]


def first(keys: Keys, scores: Vectors, k: int) -> tuple[Keys, Vectors]:
    """The k best, ties by key."""
    scores = scores.round(DECIMALS)
    order = np.lexsort((keys, -scores))[:k]
    return keys[order], scores[order]


class FaissVectors:
    """Approximate: an inverted file of k-means cells (Jégou, Douze & Schmid 2011); only the nearest cells are searched.

    The cells are learned once, from the first vectors. Later vectors are added to the existing cells.

    Args:
        probes: cells searched per query; more finds more and takes longer.

    Raises:
        MissingPackageError: faiss is not installed.
    """

    def __init__(self, vectors: Vectors, keys: Keys, probes: int = 32, index: Any = None) -> None:
        need("an approximate index of vectors", "faiss")
        import faiss

        self._faiss: Any = faiss
        self.index = index
        self._held: Any = None
        if self.index is None:
            cells = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // 39))  # faiss wants 39 points a cell
            dimension = vectors.shape[1]
            self.index = self._faiss.IndexIVFFlat(
                self._faiss.IndexFlatIP(dimension), dimension, cells, self._faiss.METRIC_INNER_PRODUCT
            )
            self.index.cp.min_points_per_centroid = 1  # avoids a warning about small pools
            sample = vectors[:: max(1, len(vectors) // (64 * cells))]
            self.index.train(np.ascontiguousarray(sample))
            self.add(vectors, keys)
        self.index.nprobe = probes

    @property
    def dimension(self) -> int:
        return int(self.index.d)

    def search(self, queries: Vectors, k: int) -> list[tuple[Keys, Vectors]]:
        scores, keys = self.index.search(np.ascontiguousarray(queries), min(k + TIES, max(1, self.index.ntotal)))
        return [
            first(row_keys[row_keys >= 0], row_scores[row_keys >= 0], k)
            for row_keys, row_scores in zip(keys, scores, strict=True)
        ]

    def add(self, vectors: Vectors, keys: Keys) -> None:
        self._thaw()
        self.index.add_with_ids(np.ascontiguousarray(vectors), keys)

    def delete(self, keys: Keys) -> None:
        self._thaw()
        self.index.remove_ids(np.ascontiguousarray(keys))

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def _thaw(self) -> None:
        """An index that reads the bytes of others is copied before it changes."""
        if self._held is not None:
            faiss, probes = self._faiss, self.index.nprobe
            self.index = faiss.deserialize_index(faiss.serialize_index(self.index))
            self._held = None
            self.index.nprobe = probes

    def save(self, path: Path) -> None:
        self._faiss.write_index(self.index, str(path))

    @classmethod
    def of_content(cls, content: mmap | bytes, probes: int = 32) -> FaissVectors:
        """From the bytes of a file that `save` wrote; they are not copied, and may be memory-mapped.

        Raises:
            RuntimeError: faiss does not understand them.
        """
        need("an approximate index of vectors", "faiss")
        import faiss

        held = np.frombuffer(content, np.uint8)
        index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(held), held.size), faiss.IO_FLAG_MMAP_IFC)  # type: ignore[attr-defined]
        if not isinstance(index, faiss.IndexIVFFlat):
            raise RuntimeError(f"a faiss index of the kind {type(index).__name__}")
        opened = cls(np.empty((0, index.d), np.float32), np.empty(0, np.int64), probes, index)
        opened._held = held
        return opened


def positions_of(keys: Sequence[int] | Keys, found: Keys) -> NDArray[np.intp]:
    """Places of `found` in the ascending `keys`.

    Raises:
        DataError: a key is unknown, so the store contains other vectors than the index.
    """
    known = np.asarray(keys)
    places = np.searchsorted(known, found)
    if len(found) and (places.max() >= len(known) or not np.array_equal(known[places], found)):
        raise DataError("the vector store holds vectors that this index does not know. Build the index again.")
    return places
