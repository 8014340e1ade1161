"""The marks of a scale, as text and as places."""

from __future__ import annotations

import numpy as np
import pytest

from rag_graph.evaluation.marks import marks_of, nearest_mark, written


@pytest.mark.parametrize(
    ("scale", "marks"),
    [
        ((1, 5), "1 2 3 4 5"),
        ((0, 10), "0 1 2 3 4 5 6 7 8 9 10"),
        ((-2, 2), "-2 -1 0 1 2"),
        ((0, 100), "0 10 20 30 40 50 60 70 80 90 100"),
        ((1, 20), "1 3 5 7 9 11 12 14 16 18 20"),
        ((0, 1), "0 1"),
        ((0, 2.5), "0 0.25 0.5 0.75 1 1.25 1.5 1.75 2 2.25 2.5"),
        ((0.5, 1), "0.5 0.55 0.6 0.65 0.7 0.75 0.8 0.85 0.9 0.95 1"),
    ],
)
def test_the_marks_of_a_scale(scale: tuple[float, float], marks: str) -> None:
    assert " ".join(map(written, marks_of(*scale))) == marks


def test_a_score_goes_to_the_nearest_mark() -> None:
    scores = np.array([0.0, 0.12, 0.125, 0.13, 0.5, 0.874, 0.876, 1.0])
    assert nearest_mark(scores, 1, 5).tolist() == [0, 0, 1, 1, 2, 3, 4, 4]
    assert nearest_mark(np.array([0.49, 0.51]), 0, 1).tolist() == [0, 1]
