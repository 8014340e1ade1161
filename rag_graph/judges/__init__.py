"""Judges: models that score answers by a question in words. What a judge is says `rag_graph.evaluation.judging`."""

from rag_graph.judges.make import make_judges

__all__ = ["make_judges"]
