"""The counts of terms in passages: an immutable sparse table, from which larger and smaller ones are made."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rag_graph.runtime import to_json, write_atomically


class TermCounts:
    """Passages x terms. A term that no passage has any more keeps its column, with weight 0.

    vocabulary: term -> column.
    table: int32 CSR [passages, terms].
    """

    def __init__(self, vocabulary: Mapping[str, int] | None = None, table: sparse.csr_matrix | None = None) -> None:
        self.vocabulary: Mapping[str, int] = vocabulary or {}
        self.table = table if table is not None else sparse.csr_matrix((0, 0), dtype=np.int32)

    def __len__(self) -> int:
        return int(self.table.shape[0])

    def with_passages(self, passages: Iterable[Iterable[str]]) -> TermCounts:
        """A table with additional passages, each given as its terms with repetitions."""
        vocabulary, columns, ends = dict(self.vocabulary), array("i"), array("q", [0])
        for terms in passages:
            columns.extend([vocabulary.setdefault(term, len(vocabulary)) for term in terms])
            ends.append(len(columns))
        shape = (len(ends) - 1, len(vocabulary))
        parts = np.ones(len(columns), np.int32), np.array(columns, np.int32), np.array(ends, np.int64)
        new = sparse.csr_matrix(parts, shape)
        new.sum_duplicates()
        old = self.table
        widened = sparse.csr_matrix((old.data, old.indices, old.indptr), (old.shape[0], len(vocabulary)))
        table = sparse.vstack([widened, new], format="csr", dtype=np.int32) if old.shape[0] else new
        return TermCounts(vocabulary, table)

    def with_rows(self, rows: NDArray[np.int64]) -> TermCounts:
        """A table with only these passages, in this order."""
        return TermCounts(self.vocabulary, self.table[rows])

    def frequencies(self) -> NDArray[np.int64]:
        """[terms] the number of passages that contain each term."""
        return np.bincount(self.table.indices, minlength=self.table.shape[1])

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "vocabulary.json", to_json(list(self.vocabulary)))
        for part in ("data", "indices", "indptr"):
            np.save(folder / f"{part}.npy", getattr(self.table, part))

    @classmethod
    def load(cls, folder: Path) -> TermCounts:
        """Memory-mapped: only the requested parts are read."""
        vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        parts = [np.load(folder / f"{part}.npy", mmap_mode="r") for part in ("data", "indices", "indptr")]
        table = sparse.csr_matrix(tuple(parts), (len(parts[2]) - 1, len(vocabulary)))
        return cls({term: column for column, term in enumerate(vocabulary)}, table)
