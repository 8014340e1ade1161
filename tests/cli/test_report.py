"""`rag-graph report` and `rag-graph compare`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_the_cli_writes_it_and_says_where(run_cli: Callable[..., Any], finished_run: Path, tmp_path: Path) -> None:
    done = run_cli("report", finished_run, "--out", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'r.html'}" in done.stdout
    wrong = run_cli("report", finished_run, "--out", tmp_path / "no/r.html")
    assert wrong.returncode == 2
    assert "no such folder" in wrong.stderr


def test_compare_prints_the_table_and_refuses_a_kind_of_file_before_it_measures(
    run_cli: Callable[..., Any], finished_run: Path, tmp_path: Path
) -> None:
    done = run_cli("compare", finished_run, "--out", tmp_path / "t.md")
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 't.md'}" in done.stdout.replace("\n", "")
    assert "IQM" in done.stdout
    wrong = run_cli("compare", "nowhere", "--out", "x.doc")
    assert wrong.returncode == 2
    assert "unknown kind of table '.doc'" in wrong.stderr
