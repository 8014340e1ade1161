"""Curves of a run: which numbers are drawn, and how they are smoothed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_graph import Run
from rag_graph.report.figures import draw_curves, node_series, smooth


def test_smoothing_takes_the_mean_of_what_came_before() -> None:
    assert smooth([1.0, 2.0, 6.0, 3.0], 3) == pytest.approx([1.0, 1.5, 3.0, 11 / 3])
    assert smooth([1.0, 2.0], 1) == [1.0, 2.0]
    assert smooth([], 5) == []


def test_a_series_has_only_the_updates_that_were_logged() -> None:
    records = [
        {"update": 1, "nodes/a/score": 0.5, "nodes/a/reward": 9.0},
        {"update": 2, "nodes/a/score": None, "nodes/b/score": 0.25},
        {"update": 3, "nodes/a/score": 0.75},
    ]
    assert node_series(records, "score") == {"a": ([1, 3], [0.5, 0.75]), "b": ([2], [0.25])}


def test_a_run_without_updates_is_drawn_too(finished_run: Path, tmp_path: Path) -> None:
    run = Run(finished_run)
    run.records = lambda *_: []  # type: ignore[method-assign,assignment]
    draw_curves(run, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
