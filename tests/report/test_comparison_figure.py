"""The figure of a comparison shows the numbers that it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from rag_graph.evaluation.statistics import Interval
from rag_graph.report.comparison_figure import DrawnArm, draw_arms


def test_means_seeds_and_differences_stand_where_they_belong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, out, **_: drawn.append(figure))
    base = DrawnArm("readout=$flat_", [0.4, 0.6], Interval(0.5, 0.4, 0.6), None)
    other = DrawnArm("readout=ridge", [0.7], Interval(0.7, 0.65, 0.75), Interval(0.2, 0.1, 0.3))
    draw_arms([base, other], "score", "readout=$flat_", tmp_path / "f.png")
    left, right = drawn[0].axes

    def lines(axes: Any) -> list[list[float]]:
        return [list(line.get_xdata()) for line in axes.lines]

    assert lines(left) == [[0.4, 0.6], [0.5], [0.65, 0.75], [0.7]]
    assert lines(right) == [[0.1, 0.3], [0.2], [0, 0]], "no difference for the baseline; a line at zero"
    assert [list(map(float, dots.get_offsets()[:, 0])) for dots in left.collections] == [[0.4, 0.6], [0.7]]
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["readout=$flat_", "readout=ridge"]
    assert right.get_title() == "minus readout=$flat_, paired by seed"
    draw_arms([base, other, other], "score", "readout=$flat_", tmp_path / "f.png")
    assert drawn[1].axes[1].get_title() == "minus readout=$flat_, paired by seed\n(intervals hold together)"
