"""PPO on episodes of the pipeline: every update drafts and retrieves with the current policy, then answers and learns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rag_graph.errors import TrainingError
from rag_graph.ppo.reward_protocols import Row
from rag_graph.ppo.rollout import Rollout
from rag_graph.ppo.trainer import GraphPPOTrainer
from rag_graph.rag.episode_builder import EpisodeBuilder, row_of
from rag_graph.rag.pipeline import Prepared, RagPipeline
from rag_graph.rag.retrieval_report import retrieval_metrics, shown_shares
from rag_graph.rag.retriever_learning import RetrieverTraining, draw_one
from rag_graph.records import Episode

GoalsShown = Callable[[Sequence[Episode]], list[bool]]
"""Of each episode whether its reference may be seen, such as `GraphReward.goals_shown`."""


class RagPPOTrainer(GraphPPOTrainer):
    """`GraphPPOTrainer` whose prompts come from the pipeline, update by update; its retriever may learn with the policy.

    Args:
        pipeline: answers with the policy that is trained here.
        builder: makes episodes of rows with `example_id`.
        retriever: what trains the encoder of queries; None: it stays.
        goals_shown: says from which references the retriever may learn; needed with `retriever`.
        ppo: arguments of `GraphPPOTrainer`.

    Raises:
        TrainingError: a retriever without `goals_shown`, or on several processes; what `GraphPPOTrainer` raises.
    """

    def __init__(
        self,
        *,
        pipeline: RagPipeline,
        builder: EpisodeBuilder,
        retriever: RetrieverTraining | None = None,
        goals_shown: GoalsShown | None = None,
        **ppo: Any,
    ) -> None:
        super().__init__(**ppo)
        self.pipeline, self.builder, self.retriever, self.goals_shown = pipeline, builder, retriever, goals_shown
        if retriever is not None and goals_shown is None:
            raise TrainingError(
                "a retriever learns here: give goals_shown, so that it learns from no hidden reference."
            )
        if retriever is not None and self.accelerator.num_processes > 1:
            raise TrainingError("a retriever learns on one process. Train on one, or set retrieval.learn.method=none.")
        self._prepared: list[Prepared] = []
        self._evaluating = False

    def prepare_batch(self, rows: list[Row]) -> list[Row]:
        examples = [self.builder.examples[row["example_id"]] for row in rows]
        config, update = self.pipeline.config, self.state.global_step
        if self._evaluating:
            return [row_of(one) for one in self.pipeline.prepare(examples)]
        if self.retriever is not None and config.learning == "policy_gradient":
            self._prepared = self.pipeline.prepare(examples, self.retriever.choose(update), config.learn.candidates)
        elif config.fusion != "concat":
            self._prepared = self.pipeline.prepare(examples, draw_one(config, self.args.seed, update), config.k)
        else:  # nothing is drawn, so answers to one prompt share its draft and its evidence
            samples = self.args.samples_per_prompt
            self._prepared = [one for one in self.pipeline.prepare(examples[::samples]) for _ in range(samples)]
        return [row_of(one) for one in self._prepared]

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
        metrics = retrieval_metrics(shown)
        shares = shown_shares(pool, [(one.example, one.evidence, one.cut) for one in self._prepared])
        metrics |= {f"retrieval/{name}": share for name, share in shares.items() if name != "cut_prompts"}
        if self.retriever is None or self.goals_shown is None:
            return metrics
        started = time.perf_counter()
        episodes = self._episodes(rollout)
        learned = self.retriever.update(
            self._prepared, rollout.scores.tolist(), self.goals_shown(episodes), self.state.global_step
        )
        return {**metrics, **learned, "seconds/retriever": time.perf_counter() - started}

    def _episodes(self, rollout: Rollout) -> list[Episode]:
        """The episodes of an update as its rewards saw them, without scores."""
        found = rollout.episodes
        columns = {
            name: [row[name] for row in found.rows] for name in ("example_id", "draft", "evidence", "prompt_cut")
        }
        prompts = [row["prompt"] for row in found.rows]
        return self.builder(
            prompts,
            found.completions,
            found.completion_ids,
            trainer_state=self.state,
            **columns,  # type: ignore[arg-type]
        )

    def extra_state(self) -> dict[str, Any]:
        return {} if self.retriever is None else self.retriever.state_dict()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        if self.retriever is not None:
            self.retriever.load_state_dict(state)
