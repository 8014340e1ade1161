"""BM25 (Robertson & Zaragoza 2009) by bm25s, in its default variant (Lucene's) with k1=1.5, b=0.75."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rag_graph.errors import need
from rag_graph.retrieval.base import Hit, best_hits, check_pool
from rag_graph.retrieval.stems import Stems
from rag_graph.retrieval.terms import PARTS, TermCounts, checked
from rag_graph.retrieval_methods import AUTO


class Bm25Retriever:
    """Lexical retrieval. Stop words are kept: they hardly score, and a question may depend on "from".

    bm25s searches. Its weights are computed here from stored counts; they equal those of bm25s. So passages can be added
    and deleted, and the others are not tokenised again.

    Args:
        texts: the pool.
        language: of its stemmer, "auto" for that of `texts`, "none" for words as they are.
        terms: instead of `texts`, the counts of its stems and what made them.

    Raises:
        DataError: an empty pool.
        ConfigError: there is no stemmer of this language.
    """

    name = "bm25"

    def __init__(
        self, texts: Sequence[str] = (), language: str = AUTO, terms: tuple[TermCounts, Stems] | None = None
    ) -> None:
        if terms is None:
            stems = Stems.of(language, texts)
            terms = TermCounts().with_passages(stems.lists(texts)), stems
        self.terms, self.stems = terms
        check_pool(len(self.terms))
        self._index = _new_index()
        self._weigh()

    def _weigh(self) -> None:
        table = self.terms.table.tocsc()
        passages = table.shape[0]
        lengths = np.asarray(self.terms.table.sum(1)).ravel()
        frequency = np.diff(table.indptr)
        idf = np.log(1 + (passages - frequency + 0.5) / (frequency + 0.5))
        k1, b = self._index.k1, self._index.b
        norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
        data = np.repeat(idf, frequency) * table.data / (table.data + norm[table.indices])
        self._index.scores = {
            "data": data.astype(np.float32),
            "indices": table.indices.astype(np.int32),
            "indptr": table.indptr.astype(np.int64),
            "num_docs": passages,
        }

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        vocabulary = self.terms.vocabulary
        found: list[list[Hit]] = []
        for terms in self.stems.lists(queries):
            known = [vocabulary[term] for term in terms if term in vocabulary]
            found.append(best_hits(self._index.get_scores_from_ids(known), k) if known else [])
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights by columns of terms: `data` and `indices` [weights], `indptr` [terms + 1]."""
        return {part: self._index.scores[part] for part in PARTS}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], terms: TermCounts, stems: Stems) -> Bm25Retriever:
        """From `arrays`, which are not copied: only the columns of the words of a query are read when it searches.

        Raises:
            ValueError: they do not fit each other, or the terms.
        """
        checked(sparse.csc_matrix, arrays, terms.table.shape)
        found = object.__new__(cls)
        found.terms, found.stems, found._index = terms, stems, _new_index()
        found._index.scores = {**arrays, "num_docs": len(terms)}
        return found


def _new_index() -> Any:
    need("BM25", "bm25s")
    import bm25s

    index = bm25s.BM25()
    index.nonoccurrence_array = None
    return index
