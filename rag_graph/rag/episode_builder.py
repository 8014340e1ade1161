"""Episodes and rows: what travels between the pipeline and a trainer's batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rag_graph.generation.end_tokens import ended
from rag_graph.rag.pipeline import Prepared, RagPipeline
from rag_graph.records import ContextNode, Episode, Evidence, Example

Row = dict[str, Any]


class EpisodeBuilder:
    """Rebuilds episodes from the columns that reach a reward: `example_id`, and, where the pipeline ran, `draft`, `evidence` and `prompt_cut`.

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
        prompt_cut: list[bool] | None = None,
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
                prompt_cut=bool(cut),
            )
            for prompt, completion, ids, name, drafted, found, cut in zip(
                prompts,
                completions,
                completion_ids,
                example_id,
                draft or [""] * len(prompts),
                evidence or blank,
                prompt_cut or [False] * len(prompts),
                strict=True,
            )
        ]


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def prepared_rows(pipeline: RagPipeline, examples: Sequence[Example]) -> list[Row]:
    """Rows for a trainer that takes fixed prompts (TRL's GRPO and RLOO): retrieved once, evidence as plain values that a data set
    can hold."""
    rows = [row_of(one) for one in pipeline.prepare(examples)]
    return [{**row, "evidence": [asdict(piece) for piece in row["evidence"]]} for row in rows]


def evidence_of(piece: Any) -> Evidence:
    """Evidence, or what a data set made of it: a column knows one set of keys, so the scores of other retrievers are None."""
    if isinstance(piece, Evidence):
        return piece
    context = ContextNode(**{**piece["context"], "links": tuple(piece["context"]["links"])})
    scores = {name: value for name, value in piece["scores"].items() if value is not None}
    return Evidence(**{**piece, "context": context, "scores": scores})


def row_of(one: Prepared) -> Row:
    """A prepared example as a row of a trainer's batch."""
    return {
        "prompt": one.prompt,
        "example_id": one.example.id,
        "draft": one.draft,
        "evidence": one.evidence,
        "prompt_cut": one.cut,
    }
