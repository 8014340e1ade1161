"""Draft -> retrieve -> fuse -> answer."""

from rag_graph.rag.pipeline import Asked, Choice, Prepared, RagPipeline, passage_weights, query_text

__all__ = ["Asked", "Choice", "Prepared", "RagPipeline", "passage_weights", "query_text"]
