"""What retrieval was worth to an evaluation: was the answer in the evidence, was it used, and did the draft help to find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag_graph.evaluation.example_intervals import example_mean, paired_difference
from rag_graph.rag.context_pool import ContextPool
from rag_graph.rag.pipeline import RagPipeline, query_text
from rag_graph.records import Episode, Evidence, Example
from rag_graph.words import words


def holds_answer(example: Example, evidence: Sequence[Evidence], extracted: bool) -> bool | None:
    """Whether the evidence has what the answer needs: a passage that the data name as supporting, else, where answers are words of a
    text, one passage with every word of a reference. None where neither can be told."""
    if example.supporting:
        return any(piece.context.local_id in example.supporting for piece in evidence)
    if not extracted or not example.references:
        return None
    wanted = [set(words(reference, pairs=True)) for reference in example.references]
    found = [set(words(piece.context.text, pairs=True)) for piece in evidence]
    return any(asked and asked <= text for asked in wanted for text in found)


def retrieval_report(pipeline: RagPipeline, episodes: Sequence[Episode]) -> dict[str, Any] | None:
    """Of scored episodes of grounded tasks; None where there is nothing to tell.

    hit@1, recall: of the named passages. answer_in_evidence: share of episodes whose evidence holds the answer. not_used: share of those
    whose task score is below a half all the same. by_input_alone: answer_in_evidence without the draft in the query; gain_of_draft: what
    the draft adds, paired.
    """
    pool, tasks = pipeline.pool, pipeline.graph.spec.tasks
    if pool is None:
        return None
    told: list[tuple[Episode, bool]] = []
    for episode in episodes:
        if pool.ranks(episode.example.task):
            held = holds_answer(episode.example, episode.evidence, tasks[episode.example.task].kind == "extraction")
            if held is not None:
                told.append((episode, held))
    if not told:
        return None
    report: dict[str, Any] = {"episodes": len(told)}
    by_draft = [float(held) for _, held in told]
    units = [episode.example.sampling_unit for episode, _ in told]
    report["answer_in_evidence"] = example_mean(by_draft, units)._asdict()
    scored = [(e, e.scores[e.example.task]) for e, held in told if held and e.example.task in e.scores]
    if scored:
        ignored = [float(score < 0.5) for _, score in scored]
        report["not_used"] = example_mean(ignored, [e.example.sampling_unit for e, _ in scored])._asdict()
    report |= retrieval_metrics([(episode.example, episode.evidence) for episode, _ in told])
    if pipeline.config.draft:
        alone = []
        for episode, _ in told:
            example = episode.example
            found = pool.retrieve(example.task, [query_text(example, "")], [example.id])
            (shown,) = pipeline.fit([example], found)
            alone.append(float(bool(holds_answer(example, shown.evidence, tasks[example.task].kind == "extraction"))))
        report["by_input_alone"] = example_mean(alone, units)._asdict()
        report["gain_of_draft"] = paired_difference({"": alone}, {"": by_draft}, {"": units})._asdict()
    return report


def retrieval_metrics(shown: Sequence[tuple[Example, Sequence[Evidence]]]) -> dict[str, float]:
    """Of the passages that the data name: is one shown first, and what share of them is shown; empty where none are named."""
    first, whole = [], []
    for example, evidence in shown:
        if example.supporting:
            ids = [piece.context.local_id for piece in evidence if piece.scores]
            first.append(float(ids[:1] != [] and ids[0] in example.supporting))
            whole.append(len({*ids} & {*example.supporting}) / len({*example.supporting}))
    if not first:
        return {}
    return {"retrieval/hit@1": sum(first) / len(first), "retrieval/recall": sum(whole) / len(whole)}


def shown_shares(
    pool: ContextPool | None, episodes: Sequence[tuple[Example, Sequence[Evidence], bool]]
) -> dict[str, float]:
    """What prompts left out: examples, each with the evidence that its prompt held and whether the prompt was cut -> shares in [0, 1].

    without_evidence, cut_evidence: of the episodes for which passages are ranked, those whose prompt held none, and those in which at least one was
    cut; absent where there are no such episodes. cut_prompts: of all episodes, those whose prompt was too long for the policy and lost something.
    """
    ranked = [
        [piece for piece in evidence if pool is not None and not pool.is_pinned(piece)]
        for example, evidence, _ in episodes
        if pool is not None and pool.ranks(example.task)
    ]
    shares = {}
    if ranked:
        shares["without_evidence"] = sum(not pieces for pieces in ranked) / len(ranked)
        shares["cut_evidence"] = sum(any(piece.left_out for piece in pieces) for pieces in ranked) / len(ranked)
    if episodes:
        shares["cut_prompts"] = sum(cut for _, _, cut in episodes) / len(episodes)
    return shares
