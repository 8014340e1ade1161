"""Search in embeddings with one protocol: exact in NumPy, approximate by faiss, or in Milvus.

Every vector has a key, a whole number that does not change when other vectors are deleted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import DataError, ModelError, need
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


def _first(keys: Keys, scores: Vectors, k: int) -> tuple[Keys, Vectors]:
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
        self._mapped = False
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
            _first(row_keys[row_keys >= 0], row_scores[row_keys >= 0], k)
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
        """A memory-mapped index is copied into memory before it changes, because faiss would write into the file."""
        if self._mapped:
            faiss, probes = self._faiss, self.index.nprobe
            self.index, self._mapped = faiss.deserialize_index(faiss.serialize_index(self.index)), False
            self.index.nprobe = probes

    def save(self, path: Path) -> None:
        self._faiss.write_index(self.index, str(path))

    @classmethod
    def load(cls, path: Path, probes: int = 32) -> FaissVectors:
        need("an approximate index of vectors", "faiss")
        import faiss

        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        opened = cls(np.empty((0, index.d), np.float32), np.empty(0, np.int64), probes, index)
        opened._mapped = True
        return opened


TOKEN = "MILVUS_TOKEN"


class MilvusVectors:
    """Milvus, by its URI: a file ending in .db is milvus-lite inside this process, `http://host:19530` a server or a cluster.

    The vectors stay there between runs, in a collection of this index.

    Args:
        uri: of the database. Its token is read from the environment variable MILVUS_TOKEN (`user:password`, or an API key) and written nowhere.
        collection: its name there.

    Raises:
        MissingPackageError: pymilvus is not installed.
        ModelError: the server does not answer.
    """

    CHUNK = 1000

    def __init__(self, uri: str, collection: str, dimension: int) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # otherwise its C core writes messages about keep-alives
        need("a Milvus index", "pymilvus", *(() if "://" in uri else ("milvus_lite",)))
        import pymilvus

        self.uri, self.collection, self.dimension = uri, collection, dimension
        if "://" not in uri:  # milvus-lite logs a traceback for every call that it does not support, which is harmless
            logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
        try:
            self._client = pymilvus.MilvusClient(uri, token=os.environ.get(TOKEN, "") if "://" in uri else "")
            self._open()
        except pymilvus.MilvusException as error:
            raise ModelError(
                f"Milvus at '{uri}' cannot be used: {error}. Is the server up, the folder there?"
            ) from None

    def _open(self) -> None:
        if not self._client.has_collection(self.collection):
            self._client.create_collection(
                self.collection,
                dimension=self.dimension,
                metric_type="IP",
                auto_id=False,
                consistency_level="Strong",
            )
        self._client.load_collection(self.collection)

    def __len__(self) -> int:
        rows = self._client.query(self.collection, filter="id >= 0", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def search(self, queries: Vectors, k: int) -> list[tuple[Keys, Vectors]]:
        answers = []
        for start in range(0, len(queries), BLOCK):
            part = queries[start : start + BLOCK]
            for hits in self._client.search(self.collection, data=part.tolist(), limit=k + TIES, output_fields=["id"]):
                keys = np.array([int(hit["id"]) for hit in hits], np.int64)
                answers.append(_first(keys, np.array([hit["distance"] for hit in hits], np.float32), k))
        return answers

    def add(self, vectors: Vectors, keys: Keys) -> None:
        for start in range(0, len(keys), self.CHUNK):
            end = start + self.CHUNK
            rows = [
                {"id": int(key), "vector": vector.tolist()}
                for key, vector in zip(keys[start:end], vectors[start:end], strict=True)
            ]
            self._client.upsert(self.collection, rows)

    def delete(self, keys: Keys) -> None:
        if len(keys):
            self._client.delete(self.collection, ids=[int(key) for key in keys])

    def fill(self, vectors: Vectors, keys: Keys) -> None:
        """Make the collection contain exactly these vectors. A key never gets another vector, so existing keys are not sent again."""
        there = self.keys()
        self.delete(np.setdiff1d(there, keys))
        missing = ~np.isin(keys, there)
        self.add(vectors[missing], keys[missing])

    def keys(self) -> Keys:
        """The keys of all vectors in the collection, ascending."""
        found: list[int] = []
        rows = self._client.query_iterator(
            self.collection, batch_size=self.CHUNK, filter="id >= 0", output_fields=["id"]
        )
        while batch := rows.next():
            found += [int(row["id"]) for row in batch]
        rows.close()
        return np.array(sorted(found), np.int64)

    def drop(self) -> None:
        """Delete the collection."""
        self._client.drop_collection(self.collection)

    def close(self) -> None:
        self._client.close()


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
