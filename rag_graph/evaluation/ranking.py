"""Compares a ranking with the known supporting passages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rag_graph.errors import DataError


def recall_at(ranked: Sequence[str], gold: Iterable[str], k: int) -> float:
    """The share of the gold passages that are among the first `k`."""
    wanted = set(gold)
    return len(wanted.intersection(ranked[:k])) / len(wanted)


def all_gold_at(ranked: Sequence[str], gold: Iterable[str], k: int) -> float:
    """1 if every gold passage is among the first `k`. A multi-hop question cannot be answered from half of them."""
    return float(set(gold) <= set(ranked[:k]))


def ranking_scores(
    ranked: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], depths: Sequence[int]
) -> dict[str, list[float]]:
    """ "recall@k" and "all_gold@k" for each k, per query that has gold passages.

    Raises:
        DataError: no query has gold passages.
    """
    pairs = [(ids, wanted) for ids, wanted in zip(ranked, gold, strict=True) if wanted]
    if not pairs:
        raise DataError("no query has 'supporting_ids', so there is nothing to compare the ranking with.")
    return {f"recall@{k}": [recall_at(ids, wanted, k) for ids, wanted in pairs] for k in depths} | {
        f"all_gold@{k}": [all_gold_at(ids, wanted, k) for ids, wanted in pairs] for k in depths
    }
