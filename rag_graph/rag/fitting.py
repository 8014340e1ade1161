"""Evidence and input as one prompt that the policy can read whole.

A prompt that is too long loses passages first, the last one first: its end, at the end of a sentence, or all of it. Then guidelines go, then the
middle of the input. The question and the template stay; only where they alone are too long, the middle of other fields goes too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rag_graph.data.prompts import render_prompt
from rag_graph.errors import DataError
from rag_graph.generation.tokens import TokenRoom
from rag_graph.graph.placeholders import placeholders
from rag_graph.graph.spec import Task
from rag_graph.rag.budget import EvidenceBudget
from rag_graph.rag.context_pool import ContextPool
from rag_graph.records import Evidence, Example
from rag_graph.sentences import without_middle


@dataclass(frozen=True, slots=True)
class Shown:
    """A prompt, the evidence that it really holds, and whether something had to go so that it fits."""

    prompt: str
    evidence: tuple[Evidence, ...]
    cut: bool = False


class PromptFitter:
    """
    Args:
        tasks: with their templates.
        pool: where evidence comes from.
        room: what the policy reads; None: prompts of any length.
    """

    def __init__(self, tasks: Mapping[str, Task], pool: ContextPool | None, room: TokenRoom | None) -> None:
        self.tasks, self.pool, self.room = tasks, pool, room

    def __call__(self, examples: Sequence[Example], evidence: Sequence[Sequence[Evidence]]) -> list[Shown]:
        """Prompts of examples with their evidence, in order.

        Raises:
            DataError: a template alone is too long, or a task has none.
        """
        prompts = [self._render(*pair) for pair in zip(examples, evidence, strict=True)]
        room = self.room
        if room is None:
            return [Shown(prompt, tuple(pieces)) for prompt, pieces in zip(prompts, evidence, strict=True)]
        lengths = room.count(prompts)
        return [
            Shown(prompt, tuple(pieces)) if length <= room.most else self._cut(example, list(pieces), room)
            for prompt, pieces, length, example in zip(prompts, evidence, lengths, examples, strict=True)
        ]

    def unfitted(self, examples: Sequence[Example]) -> list[Shown]:
        """Prompts without evidence, however long."""
        return [Shown(self._render(example), ()) for example in examples]

    def _cut(self, example: Example, kept: list[Evidence], room: TokenRoom) -> Shown:
        def fits(prompt: str) -> bool:
            return room.count([prompt])[0] <= room.most

        pool = self.pool
        if pool is not None:
            guidelines = [piece for piece in kept if pool.is_pinned(piece)]
            passages = [piece for piece in kept if not pool.is_pinned(piece)]
            for piece in [*reversed(passages), *reversed(guidelines)]:
                others = [one for one in kept if one is not piece]
                if fits(self._render(example, others)):
                    kept = self._shortened(example, kept, piece, pool.budget, len(passages) == 1, fits)
                    ranked = tuple(replace(one, rank=rank) for rank, one in enumerate(kept, 1))
                    return Shown(self._render(example, kept), ranked, True)
                kept = others
                passages = [one for one in passages if one is not piece]
        return Shown(self._without_middle_of_input(example, fits, room), (), True)

    def _shortened(
        self,
        example: Example,
        kept: list[Evidence],
        piece: Evidence,
        budget: EvidenceBudget,
        alone: bool,
        fits: Callable[[str], bool],
    ) -> list[Evidence]:
        """The evidence with the beginning of one piece that fits, or without it. `alone`: it is the only passage."""

        def placed(shorter: Evidence) -> list[Evidence]:
            return [shorter if one is piece else one for one in kept]

        shorter = budget.shorter(piece, lambda some: fits(self._render(example, placed(some))), by_words=alone)
        return [one for one in kept if one is not piece] if shorter is None else placed(shorter)

    def _without_middle_of_input(self, example: Example, fits: Callable[[str], bool], room: TokenRoom) -> str:
        template = self.tasks[example.task].prompt or ""
        used = [name for name in dict.fromkeys(placeholders(template, example.inputs)) if name in example.inputs]
        last = {"input": 0, "question": 2}
        inputs = dict(example.inputs)

        def rendered(name: str, text: str) -> str:
            return self._render(replace(example, inputs={**inputs, name: text}))

        for name in sorted(used, key=lambda name: (last.get(name, 1), -len(inputs[name]))):

            def with_it(text: str, name: str = name) -> bool:
                return fits(rendered(name, text))

            inputs[name] = without_middle(inputs[name], with_it, "character")
            prompt = rendered(name, inputs[name])
            if fits(prompt):
                return prompt
        raise DataError(
            f"task '{example.task}': its prompt takes {room.count([self._render(replace(example, inputs=inputs))])[0]} tokens without evidence and "
            f"fields, and there is room for {room.most}. Raise model.max_prompt_tokens, or shorten 'prompt:' in the graph file."
        )

    def _render(self, example: Example, evidence: Sequence[Evidence] = ()) -> str:
        return render_prompt(self.tasks[example.task], example, evidence)
