"""The marks of a scale: what a model may say, and what its marks are worth.

A scale with whole ends and at most MOST_MARKS whole numbers has these as marks: [1, 5] has 1, 2, 3, 4, 5. Every other scale has MOST_MARKS marks in
even steps: [0, 2.5] has 0, 0.25, ..., 2.5. Where the ends are whole, the marks are too, rounded: [0, 100] has 0, 10, ..., 100, [1, 20] has 1, 3, 5, 7, 9, 11, 12, ..., 20.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_MARKS = 11


def marks_of(low: float, high: float) -> list[float]:
    """The marks of a scale, from its lowest to its highest; at least two. low < high."""
    whole = float(low).is_integer() and float(high).is_integer()
    if whole and high - low < MOST_MARKS:
        return [float(mark) for mark in range(int(low), int(high) + 1)]
    steps = [low + (high - low) * step / (MOST_MARKS - 1) for step in range(MOST_MARKS)]
    if whole:
        return [float(int(mark + 0.5)) if mark >= 0 else -float(int(0.5 - mark)) for mark in steps]
    return steps


def written(mark: float) -> str:
    """A mark as a model writes it: 4, 0.25."""
    return f"{mark:.6g}"


def nearest_mark(scores: NDArray[np.float64], low: float, high: float) -> NDArray[np.int64]:
    """Scores in [0, 1] -> the number of the nearest mark, 0 for the lowest; a score in the middle of two goes to the higher one."""
    places = (np.array(marks_of(low, high)) - low) / (high - low)
    between = (places[:-1] + places[1:]) / 2
    return np.searchsorted(between, np.asarray(scores) + 1e-6, side="right").astype(np.int64)
