"""Dense retrieval: cosine similarity of embeddings from a BERT-like encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag_graph.errors import DataError
from rag_graph.retrieval.base import Hit, check_pool
from rag_graph.retrieval.encoder import Encoder
from rag_graph.retrieval.vectors import ExactVectors, Keys, VectorStore, positions_of


class DenseRetriever:
    """A passage with a cosine of 0 or less is not a hit.

    Args:
        texts: the pool; it is embedded here and searched exactly.
        encoder: of the queries, and of `texts`.
        store: existing embeddings, instead of `texts`, with the `keys` of the passages in order.

    Raises:
        DataError: an empty pool.
    """

    name = "dense"

    def __init__(
        self, texts: Sequence[str], encoder: Encoder, store: VectorStore | None = None, keys: Keys | None = None
    ) -> None:
        self.encoder = encoder
        if store is None or keys is None:
            check_pool(len(texts))
            keys = np.arange(len(texts))
            store = ExactVectors(encoder.encode(texts), keys)
        check_pool(len(keys))
        self.store, self.keys = store, keys

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        asked = [query for query in queries if query.strip()]
        if not asked:
            return [[] for _ in queries]
        embedded = self.encoder.encode_queries(asked)
        if embedded.shape[1] != self.store.dimension:
            raise DataError(
                f"the query encoder makes vectors of {embedded.shape[1]} numbers, the passages have {self.store.dimension}. Use the encoder that embedded them."
            )
        found = iter(self.store.search(embedded, k))
        return [self._hits(*next(found)) if query.strip() else [] for query in queries]

    def _hits(self, keys: Keys, scores: np.ndarray) -> list[Hit]:
        keys, scores = keys[scores > 0], scores[scores > 0]
        return [
            Hit(int(position), float(score))
            for position, score in zip(positions_of(self.keys, keys), scores, strict=True)
        ]
