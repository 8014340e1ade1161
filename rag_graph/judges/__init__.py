"""Judges: models that score answers by a question in words. What a judge is says `rag_graph.evaluation.judging`."""

from rag_graph.judges.make import check_templates, make_judges

__all__ = ["check_templates", "make_judges"]
