"""A finished run, opened again: its policy behind its pipeline, its scorer, its reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from transformers import logging as transformers_logging

from rag_graph.config import RunConfig, load_config
from rag_graph.data.load import RunData, load_data
from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.generation.generate import Writer
from rag_graph.generation.language_model import load_language_model
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.reader import load_graph
from rag_graph.graph.spec import NOT_SHOWN
from rag_graph.rag.pipeline import RagPipeline, passage_weights
from rag_graph.records import ContextNode, Episode, Evidence, Example, NodeRewards
from rag_graph.rag.context_pool import ContextPool, load_encoders
from rag_graph.reward.reward import GraphReward
from rag_graph.runtime import RunFolder, read_jsonl, resolve_device
from rag_graph.ppo.checkpoints import load_state
from rag_graph.runs.ingredients import classifiers, node_texts
from rag_graph.runs.own_parts import OwnParts
from rag_graph.rag.episode_builder import EpisodeBuilder


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a run's policy, with what led to it and what each node would have been paid.

    probabilities: rank of a piece of evidence -> p(passage | query), where the fusion weighs passages.
    drafted: whether a draft was made.
    """

    episode: Episode
    rewards: NodeRewards
    probabilities: Mapping[int, float]
    drafted: bool

    @property
    def text(self) -> str:
        return self.episode.response

    @property
    def draft(self) -> str:
        return self.episode.draft

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.episode.evidence

    @property
    def scores(self) -> dict[str, float]:
        """Node -> its score in [0, 1], measured or imputed, of the nodes that bear on the task."""
        nodes, scores, weights = self.rewards.nodes, self.rewards.scores[0].tolist(), self.rewards.weights[0].tolist()
        return {
            name: score
            for name, score, weight in zip(nodes, scores, weights, strict=True)
            if weight or name in self.episode.scores
        }

    @property
    def paid(self) -> dict[str, float]:
        """Node -> what it adds to the reward."""
        shares = (self.rewards.values * self.rewards.weights)[0].tolist()
        return {
            name: share + 0.0 for name, share in zip(self.rewards.nodes, shares, strict=True) if name in self.scores
        }

    @property
    def reward(self) -> float | None:
        """None where nothing that pays was observed."""
        total = self.rewards.total()[0].item()
        return total if total == total else None

    def __str__(self) -> str:
        return self.text


class OpenedRun:
    """
    Args:
        path: a run folder.
        data_needed: also load the run's data sets; without them a criterion that needs a frozen classifier is not observed.
        own: the parts that the run was made with beside its config.

    Raises:
        DataError: no run folder, or one whose training did not finish.
    """

    def __init__(self, path: str | Path, data_needed: bool = False, own: OwnParts | None = None) -> None:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self.folder = RunFolder.open(path)
        if not (self.folder / "policy" / "config.json").is_file():
            raise DataError(
                f"{path}: this run has no policy yet: its training did not reach the end. See {self.folder / 'status.json'}."
            )
        self.own = own or OwnParts()
        self.config: RunConfig = load_config(self.folder / "config.yaml")
        stored = load_graph(self.folder / "graph.yaml")
        self.manifest = self.folder.read_json("manifest.json")
        self.own.check_same(self.manifest["own_parts"], str(path))
        self.graph = AuxiliaryGraph(stored.spec, Path(self.manifest["graph_root"]))
        self.data = self._load_data(data_needed)
        frozen = classifiers(self.graph, self.data.train, self.config.seed) if self.data else {}
        self.scorer = NodeScorer(self.graph, frozen, self.own.scorers)
        source = self.config.model.model_copy(
            update={"source": str(self.folder / "policy"), "trim_vocabulary": False, "lora": None, "revision": None}
        )
        self.model, self.tokenizer = load_language_model(source, device=resolve_device("auto"))
        self.write = Writer(
            self.model, self.tokenizer, self.config.model, self.config.evaluation.batch_size, self.config.ppo.bf16
        )
        settings = self.config.retrieval
        nodes = self.contexts("test")
        encoders = load_encoders(settings, nodes, saved=self.folder / "retriever")
        self.pool = ContextPool(self.graph, nodes, settings, encoders, self.own.retriever)
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

    def ask(self, text: str, task: str | None = None, given: str | None = None) -> Answer:
        """One answer through the run's pipeline, scored and paid as training left it.

        Args:
            text: the question, or the text of a task that asks none.
            task: default the first that has a question, else the first.
            given: the passage that a question is about.

        Raises:
            ConfigError: no such task, or a passage for a task that asks no question.
        """
        tasks = self.graph.spec.tasks
        chosen = task or next((name for name, spec in tasks.items() if "question" in spec.fields), next(iter(tasks)))
        if chosen not in tasks:
            raise ConfigError(
                f"task {chosen}: no such task in this run.{near_miss(chosen, tasks)} Its tasks: {', '.join(tasks)}."
            )
        fields = [name for name in tasks[chosen].fields if name not in NOT_SHOWN]
        asked = "question" if "question" in fields else fields[0]
        if given is not None and asked == "input":
            raise ConfigError(f"input: task '{chosen}' asks no question; its text is the argument itself.")
        inputs = dict.fromkeys(fields, "") | ({"input": given} if given is not None else {}) | {asked: text}
        episode = self.pipeline.answer([Example("asked", chosen, inputs)])[0]
        episode = episode.with_scores(self.scorer.score(episode))
        settings = self.config.retrieval
        drawn = [] if settings.fusion == "concat" else [p for p in episode.evidence if not self.pool.is_pinned(p)]
        weights = dict(zip((piece.rank for piece in drawn), passage_weights(drawn, settings), strict=True))
        drafted = settings.draft and self.pool.ranks(chosen)
        return Answer(episode, self.reward.node_rewards([episode]), weights, bool(drafted))

    @cached_property
    def reward(self) -> GraphReward:
        """The run's reward as training left it."""
        reward = GraphReward(
            self.graph,
            self.config.reward,
            self.scorer.score,
            EpisodeBuilder([]),
            self.config.seed,
            node_texts(self.config),
            self.own.readout,
        )
        reward.load_state_dict(load_state(self.folder.path, "reward"))
        return reward
