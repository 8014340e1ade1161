"""`rag-graph sweep` before and after its runs; whole sweeps are run in tests/runs/test_sweep.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import yaml

from rag_graph.cli.sweep import _reason, _table
from rag_graph.runs.sweep import Sweep

Cli = Callable[..., CompletedProcess[str]]


def test_a_dry_run_lists_the_runs_and_writes_nothing(run_cli: Cli, root: Path, tmp_path: Path) -> None:
    content = {"config": str(root / "experiments/quickstart/config.yaml"), "folder": str(tmp_path / "sweep")}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**content, "grid": {"data.train": [16, 32]}, "seeds": [0, 1]}))
    done = run_cli("sweep", tmp_path / "s.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    runs = [f"{tmp_path}/sweep/train={size}/seed{seed}" for size in (16, 32) for seed in (0, 1)]
    assert [line.split() for line in done.stdout.splitlines()[:4]] == [["waiting", run] for run in runs]
    assert done.stdout.splitlines()[4] == "4 runs, executor local"
    assert not (tmp_path / "sweep").exists()
    table = _table(Sweep(tmp_path / "s.yaml"), 5.0)
    assert table.title == "0 of 4 runs finished, 5 s"
    assert table.row_count == 4


def test_the_reason_of_a_failure_is_the_last_line_of_its_log(tmp_path: Path) -> None:
    assert _reason(tmp_path / "seed0") == f"no log (all of it in {tmp_path}/seed0.log)"
    (tmp_path / "seed0.log").write_text("first\nlast\n\n")
    assert _reason(tmp_path / "seed0") == f"last (all of it in {tmp_path}/seed0.log)"
