"""The table of a comparison as text and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph.evaluation.statistics import Interval
from rag_graph.report.comparison import Arm, Comparison, Row, Versus


def test_files_of_every_kind(run_cli: Callable[..., Any], make: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make("a", seed, 0.5)
        make("b", seed, 0.6 + seed / 100, "reward.readout=flat", "model.source=x_y|z")
    outs = [tmp_path / f"out{ending}" for ending in (".md", ".csv", ".tex", ".png")]
    to = [part for out in outs for part in ("--out", out)]
    done = run_cli("compare", f"{tmp_path}/*/*", "--baseline", tmp_path / "a/seed1", *to)
    assert done.returncode == 0, done.stderr
    assert "Not at equal budget" in done.stdout
    markdown, csv, latex = (out.read_text() for out in outs[:3])
    assert "x_y\\|z" in markdown
    assert "+0.110 [+0.085, +0.135] | 0.003 | 0.033 | 1.00 |" in markdown
    assert "Only 3 seeds" in done.stdout
    assert r"x\_y|z" in latex
    assert latex.count(r"\\") == 3
    import pandas

    table = pandas.read_csv(outs[1])
    assert table["difference"].iloc[1] == pytest.approx(0.11)
    assert csv.startswith("arm,")
    assert outs[3].read_bytes().startswith(b"\x89PNG")
    wrong = run_cli("compare", tmp_path / "a/seed0", "--out", "x.doc")
    assert wrong.returncode == 2
    assert "unknown kind of table '.doc'. Known: .md, .csv, .tex, .png" in wrong.stderr


def test_an_arm_is_a_matrix_of_runs_and_shared_tasks() -> None:
    arm = Arm("a", {}, {4: {"y": 0.4, "x": 0.3}, 2: {"x": 0.1, "y": 0.2, "z": 0.9}})
    assert arm.tasks == ("x", "y")
    assert arm.matrix().tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert arm.matrix([4]).tolist() == [[0.3, 0.4]]


def test_cells_show_intervals_only_where_there_are_some() -> None:
    nan = float("nan")
    rows = (
        Row("a", (0,), Interval(0.5, nan, nan), 0.5, None),
        Row(
            "b|c\n",
            (0, 1),
            Interval(0.25, 0.125, 0.5),
            0.25,
            Versus(Interval(-0.25, -0.375, 0.0), 0.0004, 0.31, 0.125, 2),
        ),
        Row("d", (0,), Interval(0.5, nan, nan), 0.5, Versus(Interval(0.25, nan, nan), nan, nan, 1.0, 1)),
    )
    found = Comparison("score", "a", (), rows, ("Not\nfair.",))
    assert found.cells()[1:] == [
        ["a", "1", "0.500", "0.500", "", "", "", ""],
        ["b|c\n", "2", "0.250 [0.125, 0.500]", "0.250", "-0.250 [-0.375, +0.000]", "<0.001", "0.310", "0.12"],
        ["d", "1", "0.500", "0.500", "+0.250", "", "", "1.00"],
    ]
    assert "| b\\|c  | 2 |" in found.to_markdown()
    assert "% Not fair.\n" in found.to_latex()
