"""Demonstrations for the supervised warm-up: prompts with and without evidence, answers right or by a weak heuristic."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

from rag_graph.data.load import RunData
from rag_graph.generation.sft import Pair
from rag_graph.generation.tokens import answer_ids, encode_prompts, token_room
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.rag.context_pool import ContextPool
from rag_graph.rag.fitting import PromptFitter
from rag_graph.rag.pipeline import query_text
from rag_graph.records import Evidence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WITHOUT_EVIDENCE = 0.15
"""Share of grounded prompts shown bare, so that the model can draft."""
NAMED_FIRST = 0.5
"""Share of prompts that show the supporting passages first, where the data name them, so that the model learns to read."""


def demonstration_batches(
    graph: AuxiliaryGraph,
    data: RunData,
    pool: ContextPool | None,
    tokenizer: PreTrainedTokenizerBase,
    weak: float,
    batch_size: int,
    max_prompt_tokens: int,
    seed: int,
) -> Callable[[int], list[list[Pair]]]:
    """step -> groups of (prompt ids, answer ids). A group is encoded when it is first drawn. The evidence is what the input
    alone retrieves."""
    rng = random.Random(f"demonstrations/{seed}")
    fit = PromptFitter(graph.spec.tasks, pool, token_room(tokenizer, max_prompt_tokens))
    known: dict[int, list[tuple[list[int], list[int], list[int]]]] = {}

    def encode(numbers: list[int]) -> None:
        """Together, because a search for many queries costs little more than one."""
        rows = [(number, *pair) for number in numbers for pair in data.groups[number]]
        evidence: list[tuple[Evidence, ...]] = [()] * len(rows)
        searched: dict[str, list[int]] = {}
        for place, (_, example, _) in enumerate(rows):
            if pool is not None and pool.grounds(example.task) and rng.random() >= WITHOUT_EVIDENCE:
                searched.setdefault(example.task, []).append(place)
        for task, places in searched.items():
            assert pool is not None
            examples = [rows[place][1] for place in places]
            queries = [query_text(example, "") for example in examples]
            found = pool.ranked(task, queries, [example.id for example in examples])
            for place, example, candidates in zip(places, examples, found, strict=True):
                if example.supporting and rng.random() < NAMED_FIRST:
                    named = pool.supporting(example)
                    ids = {piece.context.id for piece in named}
                    candidates = chain(named, (piece for piece in candidates if piece.context.id not in ids))
                evidence[place] = pool.select(task, candidates)
        shown = fit([example for _, example, _ in rows], evidence)
        prompts = encode_prompts(tokenizer, [one.prompt for one in shown], max_prompt_tokens)
        gold = answer_ids(tokenizer, [example.references[0] for _, example, _ in rows])
        weak_answers = [example.references[0] if heuristic is None else heuristic for _, example, heuristic in rows]
        for (number, _, _), prompt, right, by_heuristic in zip(
            rows, prompts, gold, answer_ids(tokenizer, weak_answers), strict=True
        ):
            known.setdefault(number, []).append((prompt, right, by_heuristic))

    def batch(step: int) -> list[list[Pair]]:
        chosen = rng.sample(range(len(data.groups)), min(batch_size, len(data.groups)))
        if fresh := [number for number in chosen if number not in known]:
            encode(fresh)
        return [
            [(prompt, by_heuristic if rng.random() < weak else gold) for prompt, gold, by_heuristic in known[number]]
            for number in chosen
        ]

    return batch
