"""PPO on episodes of the pipeline: every update drafts and retrieves with the current policy, then answers and learns."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rag_graph.errors import TrainingError
from rag_graph.generation.end_tokens import ended
from rag_graph.rag.pipeline import Prepared, RagPipeline
from rag_graph.records import ContextNode, Episode, Evidence, Example
from rag_graph.reward.reward import GraphReward
from rag_graph.rag.retriever_learning import RetrieverTraining, draw_one
from rag_graph.ppo.trainer import GraphPPOTrainer
from rag_graph.rag.retrieval_report import retrieval_metrics
from rag_graph.ppo.reward_functions import Row
from rag_graph.ppo.rollout import Rollout


class EpisodeBuilder:
    """Rebuilds episodes from the columns that reach a reward: `example_id`, and, where the pipeline ran, `draft` and `evidence`.

    Args:
        examples: what `example_id` refers to.
        stop_ids: the tokens that end an answer; a completion without any of them was cut off.
    """

    def __init__(self, examples: Sequence[Example], stop_ids: Collection[int] = ()) -> None:
        self.stop_ids = stop_ids
        self.examples: Mapping[str, Example] = {example.id: example for example in examples}
        self.update = 0

    def __call__(
        self,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        example_id: list[str],
        draft: list[str] | None = None,
        evidence: list[tuple[Evidence, ...]] | None = None,
        trainer_state: Any = None,
        **_: Any,
    ) -> list[Episode]:
        if trainer_state is not None:  # every trainer says where it is
            self.update = trainer_state.global_step + 1
        blank: list[tuple[Evidence, ...]] = [()] * len(prompts)
        return [
            Episode(
                id=f"{self.update}/{name}",
                example=self.examples[name],
                prompt=str(prompt),
                response=_text(completion).strip(),
                draft=drafted,
                evidence=tuple(map(evidence_of, found)),
                truncated=bool(self.stop_ids) and not ended(ids, self.stop_ids),
                round=self.update,
            )
            for prompt, completion, ids, name, drafted, found in zip(
                prompts,
                completions,
                completion_ids,
                example_id,
                draft or [""] * len(prompts),
                evidence or blank,
                strict=True,
            )
        ]


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def prepared_rows(pipeline: RagPipeline, examples: Sequence[Example]) -> list[Row]:
    """Rows for a trainer that takes fixed prompts (TRL's GRPO and RLOO): retrieved once, evidence as plain values that a data set
    can hold."""
    rows = [_row(one) for one in pipeline.prepare(examples)]
    return [{**row, "evidence": [asdict(piece) for piece in row["evidence"]]} for row in rows]


def evidence_of(piece: Any) -> Evidence:
    """Evidence, or what a data set made of it: a column knows one set of keys, so the scores of other retrievers are None."""
    if isinstance(piece, Evidence):
        return piece
    context = ContextNode(**{**piece["context"], "links": tuple(piece["context"]["links"])})
    scores = {name: value for name, value in piece["scores"].items() if value is not None}
    return Evidence(**{**piece, "context": context, "scores": scores})


class RagPPOTrainer(GraphPPOTrainer):
    """`GraphPPOTrainer` whose prompts come from the pipeline, update by update; its retriever may learn with the policy."""

    pipeline: RagPipeline
    builder: EpisodeBuilder
    retriever: RetrieverTraining | None = None
    _evaluating = False

    def prepare_batch(self, rows: list[Row]) -> list[Row]:
        examples = [self.builder.examples[row["example_id"]] for row in rows]
        config, update = self.pipeline.config, self.state.global_step
        if self._evaluating:
            return [_row(one) for one in self.pipeline.prepare(examples)]
        if self.retriever is not None and config.learning == "policy_gradient":
            self._prepared = self.pipeline.prepare(examples, self.retriever.choose(update), config.learn.candidates)
        elif config.fusion != "concat":
            self._prepared = self.pipeline.prepare(examples, draw_one(config, self.args.seed, update), config.k)
        else:
            self._prepared = self.pipeline.prepare(examples)
        return [_row(one) for one in self._prepared]

    def evaluate(self, *given: Any, **named: Any) -> dict[str, float]:
        """As `GraphPPOTrainer.evaluate`, by the best passages: nothing is drawn."""
        self._evaluating = True
        try:
            return super().evaluate(*given, **named)
        finally:
            self._evaluating = False

    def after_update(self, rollout: Rollout) -> dict[str, float]:
        """The retriever learns; by references only where their goal was observed, and not reserved."""
        pool = self.pipeline.pool
        shown = [
            (one.example, one.evidence) for one in self._prepared if pool is not None and pool.ranks(one.example.task)
        ]
        if self.retriever is None:
            return retrieval_metrics(shown)
        if self.accelerator.num_processes > 1:
            raise TrainingError("a retriever learns on one process. Train on one, or set retrieval.learn.method=none.")
        started = time.perf_counter()
        observed = [True] * len(self._prepared)
        if isinstance(reward := self.rewards.functions[0], GraphReward):
            observed = [episode.example.task in episode.scores for episode in reward.last_episodes]
        learned = self.retriever.update(self._prepared, rollout.scores.tolist(), observed, self.state.global_step)
        return {**retrieval_metrics(shown), **learned, "seconds/retriever": time.perf_counter() - started}

    def extra_state(self) -> dict[str, Any]:
        return {} if self.retriever is None else self.retriever.state_dict()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        if self.retriever is not None:
            self.retriever.load_state_dict(state)


def _row(one: Prepared) -> Row:
    return {"prompt": one.prompt, "example_id": one.example.id, "draft": one.draft, "evidence": one.evidence}
