"""Fusion by rank and by score, and weights of passages, by hand."""

from __future__ import annotations

import pytest

from rag_graph.retrieval import Hit
from rag_graph.retrieval.fusion import Share, reciprocal_rank_fusion, score_fusion
from tests.contracts.retriever import TEXTS, WithEncoder


class TestHybrid(WithEncoder):
    method = "hybrid"

    def test_best_first_without_repeats_ties_by_position(self) -> None:
        """Ranks differ even where scores tie: two equal passages stand beside each other, not on one step."""
        (hits,) = self.make(TEXTS).search(["the red kettle is from oslo"], 5)
        assert [hit.position for hit in hits[:2]] == [0, 3]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_fusion_by_hand() -> None:
    fused = reciprocal_rank_fusion({"a": [Hit(7, 9.0), Hit(3, 8.0)], "b": [Hit(3, 0.2)]}, 5)
    assert [(hit.position, hit.score) for hit in fused] == [
        (3, pytest.approx(1 / 62 + 1 / 61)),
        (7, pytest.approx(1 / 61)),
    ]
    assert fused[0].scores == {"a": 8.0, "b": 0.2}
    by_score = score_fusion({"a": [Hit(7, 9.0), Hit(3, 6.0)], "b": [Hit(3, 0.2)]}, 5)
    assert [(hit.position, hit.score) for hit in by_score] == [(3, pytest.approx(6 / 9 + 1)), (7, pytest.approx(1.0))]
    assert reciprocal_rank_fusion({"a": []}, 5) == []


def test_fusion_by_score_with_shares_by_hand() -> None:
    lists = {"a": [Hit(7, 9.0), Hit(3, 6.0)], "b": [Hit(3, 0.2), Hit(7, 0.1)]}
    fused = score_fusion(lists, 5, {"a": Share(weight=1.5), "b": Share(power=2)})
    assert [(hit.position, hit.score) for hit in fused] == [
        (3, pytest.approx(1.5 * 6 / 9 + 1)),
        (7, pytest.approx(1.5 + 0.5**2)),
    ]
