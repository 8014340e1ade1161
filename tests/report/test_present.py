"""What follows a run: three files in its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from rag_graph import Run, present_run, write_report


def test_figures_and_report_are_written_into_the_folder(finished_run: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished_run, tmp_path / "run"))
    paths = present_run(run)
    assert [path.relative_to(run.path).name for path in paths] == ["curves.png", "diagnostics.png", "report.html"]
    for path in paths[:2]:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    assert "mean task score" in paths[2].read_text().lower()


def test_a_report_goes_where_it_is_asked_to(finished_run: Path, tmp_path: Path) -> None:
    assert write_report(Run(finished_run), tmp_path / "mine.html") == tmp_path / "mine.html"
    assert (tmp_path / "mine.html").stat().st_size > 100_000
    assert not (finished_run / "mine.html").exists()
