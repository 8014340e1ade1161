"""Search in passages: BM25, dense, a walk along their links, and fusions of these. It knows no graph of goals and no run."""

from rag_graph.retrieval.base import Hit, Retriever

__all__ = ["Hit", "Retriever"]
