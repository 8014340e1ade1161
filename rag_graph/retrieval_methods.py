"""Names of retrieval methods, of kinds of links, and of places where vectors are searched.

Settings and retrieval both use them. They are in a module below both, because neither of the two may import the other.
"""

from __future__ import annotations

from typing import Literal

RetrievalMethod = Literal["none", "bm25", "dense", "walk", "hybrid", "hybrid_walk"]
"""How passages are ranked. walk: personalised PageRank from what BM25 found; hybrid: BM25 and dense; hybrid_walk: the walk from both."""

DENSE_METHODS = ("dense", "hybrid", "hybrid_walk")
"""Methods that need an encoder of texts."""

WALK_METHODS = ("walk", "hybrid_walk")
"""Methods that walk over the links between passages."""

LinkKind = Literal["link", "title", "phrase"]
"""Edges between passages. link: stated in their file; title: a text names a title; phrase: two passages share a capitalised name."""


def is_vector_store(name: str) -> bool:
    """'exact', 'faiss', or a Milvus: a file that ends in .db, or an address."""
    return name in ("exact", "faiss") or name.endswith(".db") or "://" in name
