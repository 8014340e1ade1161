"""Draft -> retrieve -> fuse -> answer."""

from rag_graph.rag.pipeline import Prepared, RagPipeline

__all__ = ["Prepared", "RagPipeline"]
