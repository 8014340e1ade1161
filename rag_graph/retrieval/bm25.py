"""BM25 (Robertson & Zaragoza 2009) through bm25s, with its defaults k1=1.5, b=0.75."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np

from rag_graph.errors import DataError
from rag_graph.retrieval.base import Hit


class Bm25Retriever:
    """Lexical retrieval. No stop words are dropped: they hardly score, and "from" may be what a question hangs on.

    Raises:
        DataError: an empty pool.
    """

    name = "bm25"

    def __init__(self, texts: Sequence[str]) -> None:
        if not texts:
            raise DataError(
                "retrieval: the pool of context nodes is empty. Give the task a context with `grounds`, or set retrieval.method=none."
            )
        self._index = bm25s.BM25()
        tokens = self._tokens(texts)
        self._empty = not any(tokens.ids)
        if not self._empty:
            self._index.index(tokens, show_progress=False)

    @staticmethod
    def _tokens(texts: Sequence[str]) -> bm25s.tokenization.Tokenized:
        return bm25s.tokenize(list(texts), stopwords=None, token_pattern=r"(?u)\b\w+\b", show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        if self._empty or not queries:
            return [[] for _ in queries]
        vocabulary = self._index.vocab_dict
        found: list[list[Hit]] = []
        tokens = self._tokens(queries)
        names = {number: word for word, number in tokens.vocab.items()}
        for ids in tokens.ids:
            known = [vocabulary[names[number]] for number in ids if names[number] in vocabulary]
            if not known:
                found.append([])
                continue
            scores = self._index.get_scores_from_ids(known)
            found.append(best_hits(scores, k))
        return found


def best_hits(scores: np.ndarray, k: int) -> list[Hit]:
    """The `k` largest positive scores, best first, ties by position."""
    k = min(k, len(scores))
    threshold = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero(scores >= max(threshold, np.finfo(np.float32).tiny))
    order = candidates[np.lexsort((candidates, -scores[candidates]))][:k]
    return [Hit(int(position), float(scores[position])) for position in order]
