"""Rewards from a graph of goals, for reinforcement fine-tuning of language models with retrieval.

Names are loaded at their first use: `import rag_graph` does not load torch.

A Python program that trains beside other work starts with the environment variable `OMP_WAIT_POLICY=PASSIVE`, set before torch is loaded:
`OMP_WAIT_POLICY=PASSIVE python my_run.py`. Without it, threads that wait for each other keep the processor busy, and a run becomes
several times slower as soon as another process needs a core. The command `rag-graph` sets it itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rag_graph.version import __version__

if TYPE_CHECKING:
    from rag_graph.config import RewardConfig, RunConfig, load_config
    from rag_graph.evaluation.scorer import NodeScorer
    from rag_graph.graph import AuxiliaryGraph, graph_warnings, load_graph
    from rag_graph.graph.picture import draw_graph
    from rag_graph.ppo.arguments import GraphPPOConfig
    from rag_graph.ppo.callbacks import LearningRewards
    from rag_graph.ppo.trainer import GraphPPOTrainer
    from rag_graph.records import ContextNode, Episode, Evidence, Example, Item
    from rag_graph.report.compare import compare
    from rag_graph.report.comparison import Comparison
    from rag_graph.report.diagnostics import draw_diagnostics
    from rag_graph.report.figures import draw_curves
    from rag_graph.report.fit_page import write_fit_report
    from rag_graph.report.html import write_report
    from rag_graph.report.present import present_run
    from rag_graph.retrieval.base import Hit
    from rag_graph.retrieval.encoder import SentenceEncoder
    from rag_graph.retrieval.index import PassageIndex
    from rag_graph.reward import GraphReward
    from rag_graph.reward.offline.fit_report import FitReport
    from rag_graph.runs.run import Run
    from rag_graph.runs.train import resume, train

_HOMES = {
    "AuxiliaryGraph": "rag_graph.graph",
    "Comparison": "rag_graph.report.comparison",
    "ContextNode": "rag_graph.records",
    "Episode": "rag_graph.records",
    "Evidence": "rag_graph.records",
    "Example": "rag_graph.records",
    "FitReport": "rag_graph.reward.offline.fit_report",
    "GraphPPOConfig": "rag_graph.ppo.arguments",
    "GraphPPOTrainer": "rag_graph.ppo.trainer",
    "GraphReward": "rag_graph.reward",
    "Hit": "rag_graph.retrieval.base",
    "Item": "rag_graph.records",
    "LearningRewards": "rag_graph.ppo.callbacks",
    "NodeScorer": "rag_graph.evaluation.scorer",
    "PassageIndex": "rag_graph.retrieval.index",
    "RewardConfig": "rag_graph.config",
    "Run": "rag_graph.runs.run",
    "RunConfig": "rag_graph.config",
    "SentenceEncoder": "rag_graph.retrieval.encoder",
    "compare": "rag_graph.report.compare",
    "draw_curves": "rag_graph.report.figures",
    "draw_diagnostics": "rag_graph.report.diagnostics",
    "draw_graph": "rag_graph.graph.picture",
    "graph_warnings": "rag_graph.graph",
    "load_config": "rag_graph.config",
    "load_graph": "rag_graph.graph",
    "present_run": "rag_graph.report.present",
    "resume": "rag_graph.runs.train",
    "train": "rag_graph.runs.train",
    "write_fit_report": "rag_graph.report.fit_page",
    "write_report": "rag_graph.report.html",
}

__all__ = [
    "AuxiliaryGraph",
    "Comparison",
    "ContextNode",
    "Episode",
    "Evidence",
    "Example",
    "FitReport",
    "GraphPPOConfig",
    "GraphPPOTrainer",
    "GraphReward",
    "Hit",
    "Item",
    "LearningRewards",
    "NodeScorer",
    "PassageIndex",
    "RewardConfig",
    "Run",
    "RunConfig",
    "SentenceEncoder",
    "__version__",
    "compare",
    "draw_curves",
    "draw_diagnostics",
    "draw_graph",
    "graph_warnings",
    "load_config",
    "load_graph",
    "present_run",
    "resume",
    "train",
    "write_fit_report",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rag_graph' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
