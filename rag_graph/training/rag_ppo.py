"""PPO on episodes of the pipeline: every update drafts and retrieves with the current policy, then answers and learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag_graph.rag.pipeline import Prepared, RagPipeline
from rag_graph.records import Episode, Evidence, Example
from rag_graph.training.ppo import GraphPPOTrainer
from rag_graph.training.rollout import Row


class EpisodeBuilder:
    """Rebuilds episodes from the columns that reach a reward: `example_id`, and, where the pipeline ran, `draft` and `evidence`.

    Args:
        examples: what `example_id` refers to.
        eos_token_id: a completion without it was cut off.
    """

    def __init__(self, examples: Sequence[Example], eos_token_id: int | None = None) -> None:
        self.eos_token_id = eos_token_id
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
        **_: Any,
    ) -> list[Episode]:
        blank: list[tuple[Evidence, ...]] = [()] * len(prompts)
        return [
            Episode(
                id=f"{self.update}/{name}",
                example=self.examples[name],
                prompt=str(prompt),
                response=_text(completion).strip(),
                draft=drafted,
                evidence=found,
                truncated=self.eos_token_id is not None and self.eos_token_id not in ids,
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


class RagPPOTrainer(GraphPPOTrainer):
    """`GraphPPOTrainer` whose prompts come from the pipeline, update by update."""

    pipeline: RagPipeline
    builder: EpisodeBuilder

    def prepare_batch(self, rows: list[Row]) -> list[Row]:
        examples = [self.builder.examples[row["example_id"]] for row in rows]
        self.builder.update = self.state.global_step + 1
        return [_row(one) for one in self.pipeline.prepare(examples)]


def _row(one: Prepared) -> Row:
    return {"prompt": one.prompt, "example_id": one.example.id, "draft": one.draft, "evidence": one.evidence}
