"""Embeddings of node texts: each text is embedded once, and kept under a fingerprint of encoder and text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import ContextNode
from rag_graph.retrieval.kept_embeddings import kept

BUCKETS = 256
HASHING = "hashing"
MEMORY = 20_000
"""Texts that are remembered; beyond, the oldest are embedded again when they come back."""


def hashed_ngrams(texts: Sequence[str]) -> Tensor:
    """[n, BUCKETS] hashed character n-grams, rows of length 1; nothing to download."""
    vectorizer = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=BUCKETS)
    return torch.from_numpy(vectorizer.transform(texts).toarray()).float()


class TextEmbeddings:
    """
    Args:
        name: what the encoder is called; part of the fingerprint.
        encode: texts -> [n, size]; default hashed n-grams.
        folder: where embeddings of a graph's own nodes are kept between runs; None: nowhere.
    """

    def __init__(
        self,
        name: str = HASHING,
        encode: Callable[[Sequence[str]], Tensor] = hashed_ngrams,
        folder: Path | None = None,
    ) -> None:
        self.name, self.encode, self.folder = name, encode, folder
        self._known: dict[str, Tensor] = {}

    def of_graph(self, graph: AuxiliaryGraph) -> Tensor:
        """[N, size] of each node's id and title; from the folder where they were embedded before."""
        texts = [f"{name} {graph.title(name)}" for name in graph.nodes]
        if self.folder is None or self.name == HASHING:
            return self(texts)
        path = self.folder / f"{self.fingerprint(texts)}.npy"
        return torch.from_numpy(kept(path, len(texts), lambda: self(texts).float().cpu().numpy()))

    def of_contexts(self, nodes: Sequence[ContextNode]) -> Tensor:
        """[M, size] of retrieved context nodes."""
        return self([f"{node.title} {node.text}".strip() for node in nodes])

    def __call__(self, texts: Sequence[str]) -> Tensor:
        missing = list(dict.fromkeys(text for text in texts if text not in self._known))
        if missing:
            self._known.update(zip(missing, self.encode(missing), strict=True))
        found = torch.stack([self._known[text] for text in texts])
        while len(self._known) > MEMORY:
            del self._known[next(iter(self._known))]
        return found

    def fingerprint(self, texts: Sequence[str]) -> str:
        """16 hex digits over the encoder and the texts in their order."""
        return hashlib.sha256("\0".join([self.name, *texts]).encode()).hexdigest()[:16]
