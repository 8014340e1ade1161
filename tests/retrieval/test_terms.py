"""Counts of terms: by hand, smaller, larger, and read back."""

from __future__ import annotations

import numpy as np

from rag_graph.retrieval.terms import TermCounts


def test_counts_grow_shrink_and_read_back() -> None:
    first = TermCounts().with_passages([["a", "b", "a"], []])
    grown = first.with_passages([["c", "a"]])
    assert first.table.toarray().tolist() == [[2, 1], [0, 0]], "the old table stays"
    assert grown.table.toarray().tolist() == [[2, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert grown.frequencies().tolist() == [2, 1, 1]
    kept = grown.with_rows(np.array([2]))
    assert kept.table.toarray().tolist() == [[1, 0, 1]]
    assert kept.frequencies().tolist() == [1, 0, 1]
    read = TermCounts.of_arrays(list(grown.vocabulary), grown.arrays())
    assert read.vocabulary == {"a": 0, "b": 1, "c": 2}
    assert read.table.toarray().tolist() == grown.table.toarray().tolist()
    assert len(TermCounts()) == 0
