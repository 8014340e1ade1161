"""A finished run, opened again: its policy behind its pipeline, its scorer, its reward."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import logging as transformers_logging

from rag_graph.config import RunConfig, load_config
from rag_graph.data.load import RunData, load_data
from rag_graph.errors import DataError
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.generation.generate import Writer
from rag_graph.generation.language_model import load_language_model
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import read_graph
from rag_graph.rag.pipeline import RagPipeline
from rag_graph.records import ContextNode
from rag_graph.retrieval.context_pool import ContextPool, load_encoders
from rag_graph.reward.reward import GraphReward
from rag_graph.runtime import RunFolder, read_jsonl, resolve_device
from rag_graph.training.checkpoints import load_state
from rag_graph.training.ingredients import classifiers, node_texts
from rag_graph.training.rag_ppo import EpisodeBuilder


class OpenedRun:
    """
    Args:
        path: a run folder.
        data_needed: also load the run's data sets; without them a criterion that needs a frozen classifier is not observed.

    Raises:
        DataError: no run folder, or one whose training did not finish.
    """

    def __init__(self, path: str | Path, data_needed: bool = False) -> None:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self.folder = RunFolder.open(path)
        if not (self.folder / "policy" / "config.json").is_file():
            raise DataError(
                f"{path}: this run has no policy yet: its training did not reach the end. See {self.folder / 'status.json'}."
            )
        self.config: RunConfig = load_config(self.folder / "config.yaml")
        stored = read_graph(self.folder / "graph.yaml")
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        self.graph = AuxiliaryGraph(stored.spec, Path(self.manifest["graph_root"]))
        self.data = self._load_data(data_needed)
        self.scorer = NodeScorer(
            self.graph, classifiers(self.graph, self.data.train, self.config.seed) if self.data else {}
        )
        source = self.config.model.model_copy(
            update={"source": str(self.folder / "policy"), "trim_vocabulary": False, "lora": None, "revision": None}
        )
        self.model, self.tokenizer = load_language_model(source, device=resolve_device("auto"))
        self.write = Writer(
            self.model, self.tokenizer, self.config.model, self.config.evaluation.batch_size, self.config.ppo.bf16
        )
        settings = self.config.retrieval
        nodes = self.contexts("test")
        self.pool = ContextPool(
            self.graph, nodes, settings, load_encoders(settings, nodes, saved=self.folder / "retriever")
        )
        self.pipeline = RagPipeline(self.graph, self.pool, self.config.retrieval, self.write)

    def _load_data(self, needed: bool) -> RunData | None:
        try:
            data = load_data(self.graph, self.config.data, self.config.seed)
            changed = [name for name, value in self.manifest["data"].items() if data.hashes.get(name) != value]
            if changed:
                raise DataError(
                    f"{self.folder.path}: the data sets are not those of the run any more: {', '.join(changed)}. Restore them, or name a file with --data."
                )
        except DataError:
            if needed:
                raise
            return None
        return data

    def contexts(self, split: str) -> list[ContextNode]:
        """The context nodes that the run used."""
        path = self.folder / f"contexts/{split}.jsonl"
        return [ContextNode(**{**row, "links": tuple(row["links"])}) for _, row in read_jsonl(path)]

    def reward(self) -> GraphReward:
        """The run's reward as training left it."""
        reward = GraphReward(
            self.graph,
            self.config.reward,
            self.scorer.score,
            EpisodeBuilder([]),
            self.config.seed,
            node_texts(self.config),
        )
        reward.load_state_dict(load_state(self.folder.path, "reward"))
        return reward
