"""A file of questions against an index: search them all, write down what was found, and measure it where the answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from rag_graph.data.passages import Query
from rag_graph.errors import DataError, near_miss
from rag_graph.evaluation.example_intervals import example_mean
from rag_graph.evaluation.ranking import ranking_scores
from rag_graph.evaluation.statistics import Interval
from rag_graph.retrieval.base import Hit, Retriever
from rag_graph.retrieval.index import PassageIndex
from rag_graph.runtime import to_json, write_atomically, write_json

DEPTHS = (1, 2, 5, 10, 20, 50, 100)
BATCH = 64
"""Queries that are searched at once."""


class Ranking(NamedTuple):
    """What was found for a query, best first: ids of passages, their scores, and why: the scores of each retriever, and `via` the edge of the
    context graph that a walk came by."""

    query: Query
    ids: tuple[str, ...]
    scores: tuple[float, ...]
    why: tuple[dict[str, Any], ...]


class DepthScore(NamedTuple):
    """Over queries with known passages: share of these among the first k, and share of queries that have all of them there."""

    k: int
    recall: Interval
    all_gold: Interval


def rank_queries(index: PassageIndex, retriever: Retriever, queries: Sequence[Query], k: int) -> list[Ranking]:
    """The best `k` passages of each query.

    Args:
        retriever: of the passages of `index`, such as `index.retriever("hybrid_walk")`.
    """
    questions = [query.question for query in queries]
    found: list[list[Hit]] = []
    for start in tqdm(range(0, len(questions), BATCH), desc="queries", disable=len(questions) <= BATCH or None):
        found += retriever.search(questions[start : start + BATCH], k)
    return [
        Ranking(
            query,
            tuple(index.passages[hit.position].id for hit in hits),
            tuple(hit.score for hit in hits),
            tuple(_why(hit, retriever.name, index) for hit in hits),
        )
        for query, hits in zip(queries, found, strict=True)
    ]


def _why(hit: Hit, retriever: str, index: PassageIndex) -> dict[str, Any]:
    scores = {name: round(score, 6) for name, score in (hit.scores or {retriever: hit.score}).items()}
    return {**scores, **({"via": index.describe(hit.via)} if hit.via else {})}


def write_rankings(out: Path, rankings: Sequence[Ranking], settings: dict[str, Any]) -> None:
    """Write rows {id, ids, scores, why} as jsonl, and the settings beside them as `NAME.settings.json`."""
    rows = (
        {
            "id": one.query.id,
            "ids": one.ids,
            "scores": [round(score, 8) for score in one.scores],
            "why": one.why,
        }
        for one in rankings
    )
    write_atomically(out, "".join(to_json(row) + "\n" for row in rows))
    write_json(out.with_suffix(".settings.json"), settings)


def check_supporting(queries: Sequence[Query], index: PassageIndex) -> None:
    """Raises DataError where a supporting id of a query is no passage of the index."""
    known = {node.id for node in index.passages}
    for query in queries:
        for name in query.supporting_ids:
            if name not in known:
                raise DataError(
                    f"query '{query.id}': its supporting id '{name}' is no passage of the pool.{near_miss(name, known)}"
                )


def measure_rankings(rankings: Sequence[Ranking], k: int) -> tuple[int, list[DepthScore]]:
    """Recall and all-gold at each depth up to `k`, with 95% intervals, and over how many queries. Queries about the same passages are one unit.

    Raises:
        DataError: no query has supporting ids.
    """
    depths = sorted({depth for depth in (*DEPTHS, k) if depth <= k})
    scores = ranking_scores([one.ids for one in rankings], [one.query.supporting_ids for one in rankings], depths)
    units = [one.query.sampling_unit for one in rankings if one.query.supporting_ids]
    table = [
        DepthScore(
            depth, example_mean(scores[f"recall@{depth}"], units), example_mean(scores[f"all_gold@{depth}"], units)
        )
        for depth in depths
    ]
    return len(scores[f"recall@{k}"]), table
