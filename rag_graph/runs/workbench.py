"""The parts of a run, put together in one place: what trains, what evaluates and what answers questions use the same wiring.

config + graph + own parts (+ the folder of a finished run)
    -> contexts, encoders, pools, scorer, model with its tokenizer, pipeline, reward, retriever training, trainer
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rag_graph.config import RetrievalConfig, RunConfig
from rag_graph.data.load import RunData
from rag_graph.data.prompts import render_prompt
from rag_graph.evaluation.evaluate import Evaluation, evaluate, scored
from rag_graph.evaluation.functions import Scorer
from rag_graph.evaluation.hidden import HiddenReferences
from rag_graph.evaluation.scorer import FrozenClassifier, NodeScorer
from rag_graph.generation.end_tokens import end_token_ids
from rag_graph.generation.generate import Writer
from rag_graph.generation.language_model import load_language_model, lora_config
from rag_graph.generation.marginal import check_decoding
from rag_graph.generation.pretrained import LanguageModel
from rag_graph.generation.tokens import token_room
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.judges import check_templates, make_judges
from rag_graph.rag.context_pool import ContextPool, load_encoders
from rag_graph.rag.episode_builder import EpisodeBuilder
from rag_graph.rag.pipeline import RagPipeline, passage_weights
from rag_graph.rag.retrieval_report import retrieval_report, shown_shares
from rag_graph.rag.retriever_learning import RetrieverTraining
from rag_graph.records import ContextNode, Episode, Example
from rag_graph.retrieval.encoder import SentenceEncoder
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.rubric import items_paid
from rag_graph.reward.text import HASHING, TextEmbeddings
from rag_graph.runs.answer import Answer
from rag_graph.runs.manifest import saved_contexts
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.ppo_arguments import ppo_arguments
from rag_graph.runs.rag_ppo import RagPPOTrainer
from rag_graph.runtime import cache_folder, resolve_device
from rag_graph.state_file import load_state
from rag_graph.stored_file import using

if TYPE_CHECKING:
    from transformers import TrainerCallback


class Workbench:
    """
    Args:
        data: the run's data sets. A new run needs them. A finished run answers without them; a criterion that needs a frozen classifier
            is then not observed.
        saved: the folder of a finished run. Policy, encoders, contexts and reward are loaded from it instead of made new.

    Attributes:
        pipelines: by split: draft, retrieve from the contexts of the split, answer with the policy as it is at that moment.
        model: the policy, the same object all along: an adapter is put into its layers in place, and folded into them when it is merged.

    Raises:
        ModelError, DataError, ConfigError: a part that cannot be made.
    """

    def __init__(
        self,
        config: RunConfig,
        graph: AuxiliaryGraph,
        own: OwnParts,
        data: RunData | None,
        saved: Path | None = None,
    ) -> None:
        from transformers import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self.config, self.graph, self.own, self.saved = config, graph, own, saved
        self.examples = data.train if data else []
        contexts = _contexts(data, saved)
        everything = [node for nodes in contexts.values() for node in nodes]
        trusted = config.model.trust_remote_code
        self.encoders = load_encoders(config.retrieval, everything, config.seed, saved and saved / "retriever", trusted)
        shown = [example for example in data.shown if example.references] if data else []
        classified = NodeScorer.classified_tasks(graph) if data else ()
        self._classifiers = {
            task: FrozenClassifier([e for e in shown if e.task == task], config.seed) for task in classified
        }
        self.scorers = own.functions()
        self.device = resolve_device(config.device if saved is None else "auto")
        self.judges = make_judges(config.judges, self.device)
        self.scorer = NodeScorer(graph, self._classifiers, self.scorers, self.judges)
        check_templates(self.scorer.judged, self.judges)
        if saved is None:
            self.scorer.require_all()
        self.model, self.tokenizer = _language_model(config, graph, data, saved, self.device)
        _check_decoding(self.model, config.retrieval)
        self.room = token_room(self.tokenizer, config.model.max_prompt_tokens)
        self.pools = {
            split: ContextPool(graph, nodes, config.retrieval, self.encoders, own.retriever, self.room.count)
            for split, nodes in contexts.items()
        }
        self.write = Writer(self.model, self.tokenizer, config.model, config.evaluation.batch_size, config.ppo.bf16)
        self.builder = EpisodeBuilder(self.examples, end_token_ids(self.model, self.tokenizer))
        self.pipelines = {split: self._pipeline(pool) for split, pool in self.pools.items()}

    def _pipeline(self, pool: ContextPool | None) -> RagPipeline:
        return RagPipeline(self.graph, pool, self.config.retrieval, self.write, self.room)

    @cached_property
    def reward(self) -> GraphReward:
        """A new reward; of a finished run, as training left it."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="reward.auxiliary falls")  # the run has said it
            reward = GraphReward(
                self.graph,
                self.scorer,
                self.config.reward,
                self.builder,
                self.config.seed,
                _node_texts(self.config),
                self.own.readout,
            )
        if self.saved is not None:
            with using(self.saved / "reward.json"):
                reward.load_state_dict(load_state(self.saved, "reward"))
        elif self.config.reward.start_from is not None:
            reward.start_from(self.config.reward.start_from)
        return reward

    # ------------------------------------------------------------------ training

    @cached_property
    def retriever(self) -> RetrieverTraining | None:
        """What trains the encoder of queries, where an encoder retrieves and is to learn."""
        if self.encoders is None or not self.encoders.learn:
            return None
        return RetrieverTraining(
            self.pipelines["train"],
            self.encoders.queries,
            self.model,
            self.tokenizer,
            self.config.model.max_prompt_tokens,
            self.config.evaluation.batch_size,
            lambda episodes, seen: self.reward.node_rewards(self.reward.observe(episodes, seen)).total(),
            self.config.seed,
            self.config.ppo.bf16,
        )

    def trainer(self, folder: Path, callbacks: Sequence[TrainerCallback]) -> RagPPOTrainer:
        """PPO on the training examples; metrics and checkpoints go into `folder`. An adapter that the config asks for is put into the model."""
        lora = self.config.model.lora
        return RagPPOTrainer(
            pipeline=self.pipelines["train"],
            builder=self.builder,
            retriever=self.retriever,
            goals_shown=self.reward.goals_shown,
            model=self.model,
            reward_funcs=self.reward,
            args=ppo_arguments(self.config, folder, self.device),
            train_dataset=[{"prompt": "", "example_id": example.id} for example in self.examples],
            processing_class=self.tokenizer,
            peft_config=lora_config(lora) if lora else None,
            callbacks=[*callbacks, *self.own.callbacks],
        )

    # ------------------------------------------------------------------ answers

    def evaluate(
        self,
        examples: Sequence[Example],
        retrieval: bool = True,
        scorers: Mapping[str, Scorer | None] | None = None,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> Evaluation:
        """Answer examples with the contexts of the held-out part, and measure the answers; in batches of `evaluation.batch_size`, task by task.

        Args:
            scorers: for this evaluation, beside the run's own and in place of those of the same node.
            on_batch: called with the size of each batch when it is answered.
        """
        scorer = self.scorer
        if scorers:
            scorer = NodeScorer(self.graph, self._classifiers, {**self.scorers, **scorers}, self.judges)
        pipeline, batch = (
            self.pipelines["test"] if retrieval else self._pipeline(None),
            self.config.evaluation.batch_size,
        )

        def answer(examples: Sequence[Example]) -> list[Episode]:
            order = sorted(range(len(examples)), key=lambda row: examples[row].task)
            episodes: dict[int, Episode] = {}
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                episodes.update(zip(rows, pipeline.answer([examples[row] for row in rows]), strict=True))
                on_batch(len(rows))
            return [episodes[row] for row in range(len(examples))]

        evaluation = evaluate(answer, examples, scorer, self.config.fingerprint())
        shown = [(episode.example, episode.evidence, episode.prompt_cut) for episode in evaluation.episodes]
        return replace(
            evaluation,
            retrieval=retrieval_report(pipeline, evaluation.episodes),
            shown=shown_shares(pipeline.pool, shown),
        )

    def answer(self, example: Example) -> Answer:
        """One answer, scored and paid by the reward as it is."""
        settings, pool = self.config.retrieval, self.pools["test"]
        (episode,) = self.pipelines["test"].answer([example])
        # Nobody knows the right answer: a function of your own that looks for it has not failed.
        blind = replace(episode, example=replace(example, references=example.references or HiddenReferences()))
        episode = replace(scored(self.scorer, [blind])[0], example=example)
        drawn = [] if settings.fusion == "concat" else [p for p in episode.evidence if not pool.is_pinned(p)]
        weights = dict(zip((piece.rank for piece in drawn), passage_weights(drawn, settings), strict=True))
        drafted = settings.draft and pool.ranks(example.task)
        paid = self.reward.node_rewards([episode])
        return Answer(episode, paid, weights, drafted, items_paid(self.reward.model, [episode], paid)[0])


def _contexts(data: RunData | None, saved: Path | None) -> Mapping[str, Sequence[ContextNode]]:
    if saved is not None:
        return {"test": saved_contexts(saved, "test")}
    assert data is not None
    return data.contexts


def _language_model(
    config: RunConfig, graph: AuxiliaryGraph, data: RunData | None, saved: Path | None, device: str
) -> LanguageModel:
    if saved is not None:
        changes = {"source": str(saved / "policy"), "trim_vocabulary": False, "lora": None, "revision": None}
        return load_language_model(config.model.model_copy(update=changes), device=device)
    assert data is not None
    return load_language_model(config.model, _corpus(graph, data), device)


def _corpus(graph: AuxiliaryGraph, data: RunData) -> list[str]:
    """The text a run uses: prompts, references, contexts, labels; no reference of a reserved or a held-out example. Trains or trims a tokenizer."""
    answered = {e.id: f" {' '.join(e.references)}" for e in data.shown}
    texts = [f"{render_prompt(graph.spec.tasks[e.task], e)}{answered.get(e.id, '')}" for e in data.train]
    texts += [render_prompt(graph.spec.tasks[e.task], e) for e in data.test]
    texts += [node.text for nodes in data.contexts.values() for node in nodes]
    return texts + [" ".join(task.label_words) for task in graph.spec.tasks.values()]


def _check_decoding(model: torch.nn.Module, retrieval: RetrievalConfig) -> None:
    """Raises ModelError where a model cannot do what the config's retrieval asks of it."""
    if retrieval.fusion != "concat":
        check_decoding(model, f"retrieval.fusion={retrieval.fusion}")
    if retrieval.learning == "perplexity" or retrieval.learn.warm_up == "likelihood":
        check_decoding(model, "a retriever that learns from likelihoods")


def _node_texts(config: RunConfig) -> TextEmbeddings:
    """The encoder of node texts that the config names; what it embedded of a graph before is in the cache."""
    name = config.reward.text_encoder
    if name == HASHING:
        return TextEmbeddings()
    encoder = SentenceEncoder(name, trust_remote_code=config.model.trust_remote_code)
    return TextEmbeddings(name, lambda texts: torch.from_numpy(encoder.encode(texts)), cache_folder() / "node_texts")
