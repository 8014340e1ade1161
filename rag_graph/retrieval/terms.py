"""The counts of terms in passages: an immutable sparse table, from which larger and smaller ones are made."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The table as arrays: `data` and `indices` [counts], `indptr` [passages + 1]."""
        return {part: getattr(self.table, part) for part in PARTS}

    @classmethod
    def of_arrays(cls, vocabulary: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> TermCounts:
        """From `arrays` and the terms in the order of their columns; the arrays are not copied.

        Raises:
            ValueError: they do not fit each other, or a term stands twice.
        """
        columns = {term: column for column, term in enumerate(vocabulary)}
        if len(columns) < len(vocabulary):
            raise ValueError("a term stands twice")
        shape = (len(arrays["indptr"]) - 1, len(columns))
        return cls(columns, checked(sparse.csr_matrix, arrays, shape))


PARTS = ("data", "indices", "indptr")
Table = TypeVar("Table", sparse.csr_matrix, sparse.csc_matrix)


def checked(kind: type[Table], arrays: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> Table:
    """A sparse table of `PARTS`, of which every place is inside: outside of it, SciPy would read and write memory of others.

    Raises:
        ValueError: one is outside, or the arrays do not fit each other.
    """
    table = kind(tuple(arrays[part] for part in PARTS), shape)
    table.check_format(full_check=True)
    if table.indptr[-1] != len(arrays["indices"]):
        raise ValueError("the places and their number differ")
    return table
