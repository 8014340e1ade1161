"""What will not fit, said before a run: passages beside the budget of evidence, and prompts beside the length that the policy reads."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypeVar

from rag_graph.rag.budget import EvidenceBudget
from rag_graph.rag.pipeline import RagPipeline
from rag_graph.records import Evidence, Example

LOOKED_AT = 200
"""Passages, and examples, of each task."""
T = TypeVar("T")


def room_warnings(pipeline: RagPipeline, examples: Sequence[Example]) -> list[str]:
    """A sentence for each thing that has no room, with the setting to change; by a sample of each task's passages and examples.

    Raises:
        DataError: the template of a task is longer than a prompt may be.
    """
    found = []
    for task in pipeline.graph.spec.tasks:
        mine = _spread([example for example in examples if example.task == task])
        if mine:
            found += [*_of_passages(pipeline, task), *_of_prompts(pipeline, task, mine)]
    return found


def _of_passages(pipeline: RagPipeline, task: str) -> list[str]:
    pool = pipeline.pool
    if pool is None or not pool.ranks(task):
        return []
    budget, guidelines = pool.budget, pool.guidelines(task)
    room = budget.room_beside(guidelines)
    sample = [Evidence(node, 0.0, 1) for node in _spread(pool.passages(task))]
    shown = [budget.fill(guidelines, [piece]) for piece in sample]
    lengths = sorted(budget.length(piece.context.text) for piece in sample)
    limit = f"retrieval.token_budget {budget.tokens} has room for {max(0, room)} tokens" + (
        " beside the guidelines" if guidelines else ""
    )
    if not any(shown):
        return [
            f"task '{task}': no passage can be shown: {limit}, and the shortest of {len(sample)} passages has {lengths[0]}. Every episode will be "
            f"without evidence. Set retrieval.token_budget to {budget.tokens - room + lengths[-1]} or more."
        ]
    out, cut = sum(not pieces for pieces in shown), sum(bool(pieces and pieces[0].left_out) for pieces in shown)
    if not out and not cut:
        return []
    what = [f"{cut} are cut at the end of a sentence or word"] if cut else []
    what += [f"{out} are never shown"] if out else []
    return [
        f"task '{task}': of {len(sample)} passages {' and '.join(what)}: {limit}, and they have up to {lengths[-1]}, half of them more than "
        f"{median(lengths):.0f}."
    ]


def _of_prompts(pipeline: RagPipeline, task: str, examples: Sequence[Example]) -> list[str]:
    room, pool = pipeline.fit.room, pipeline.pool
    if room is None:
        return []
    bare = [shown.prompt for shown in pipeline.fit.unfitted(examples)]
    lengths = room.count(bare)
    longest = max(range(len(bare)), key=lambda row: lengths[row])
    pipeline.fit(
        [examples[longest]], [()]
    )  # a template that is too long is an error here, and not in the middle of a run
    found = []
    limit = f"model.max_prompt_tokens leaves {room.most}"
    if lengths[longest] > room.most:
        long = sum(length > room.most for length in lengths)
        found.append(
            f"task '{task}': {long} of {len(bare)} prompts are too long without any evidence: they have up to {lengths[longest]} tokens, and {limit}. The "
            "middle of their input is left out."
        )
    if pool is None or not pool.ranks(task):
        return found
    free = [max(0, room.most - length) for length in lengths]
    wanted = _wanted(pool.budget, [Evidence(node, 0.0, 1) for node in _spread(pool.passages(task))])
    if max(free) == 0:
        found.append(
            f"task '{task}': no prompt has room for evidence: {limit}. Raise it, or expect every episode to be without evidence."
        )
    elif median(free) < wanted:
        found.append(
            f"task '{task}': half of the prompts have room for {median(free):.0f} tokens of evidence or less, and {pool.budget.most} usual passages have "
            f"{wanted}: evidence is cut or left out. Raise model.max_prompt_tokens, or lower retrieval.k."
        )
    return found


def _wanted(budget: EvidenceBudget, pieces: Sequence[Evidence]) -> int:
    """Tokens of as many passages of usual length as are asked for, in the budget."""
    usual = median(budget.length(piece.context.text) for piece in pieces)
    return int(min(budget.tokens, budget.most * usual))


def _spread(items: Sequence[T]) -> list[T]:
    """Some of them, evenly."""
    return list(items[:: max(1, -(-len(items) // LOOKED_AT))])
