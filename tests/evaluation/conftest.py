"""Coverage of intervals by simulation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rag_graph.evaluation.statistics import Interval

Coverage = Callable[..., float]


@pytest.fixture(scope="session")
def coverage() -> Coverage:
    """interval (draws a sample, gives its interval), truth, samples = 4000 -> the share of intervals that contain the truth."""

    def of(interval: Callable[[], Interval], truth: float, samples: int = 4000) -> float:
        covered = 0
        for _ in range(samples):
            found = interval()
            covered += found.low - 1e-12 <= truth <= found.high + 1e-12
        return covered / samples

    return of
