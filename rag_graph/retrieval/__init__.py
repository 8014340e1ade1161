"""Searching passages: BM25, dense, a walk over their links, and fusions of them. Knows no graph of goals and no run."""

from rag_graph.retrieval.base import Hit, Retriever

__all__ = ["Hit", "Retriever"]
