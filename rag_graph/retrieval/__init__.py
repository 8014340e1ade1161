"""Retrieval of context nodes: BM25, dense, a walk over the context graph, and their fusion."""

from rag_graph.retrieval.base import Hit, Retriever
from rag_graph.retrieval.context_pool import ContextPool, load_encoders

__all__ = ["ContextPool", "Hit", "Retriever", "load_encoders"]
