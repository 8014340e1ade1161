"""What joins retrieval and policy: draft -> retrieve -> fuse -> answer, and the retriever that learns beside the policy."""

from rag_graph.rag.context_pool import ContextPool, load_encoders
from rag_graph.rag.pipeline import Asked, Choice, Prepared, RagPipeline, passage_weights, query_text

__all__ = [
    "Asked",
    "Choice",
    "ContextPool",
    "Prepared",
    "RagPipeline",
    "load_encoders",
    "passage_weights",
    "query_text",
]
