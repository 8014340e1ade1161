"""The command line as a process: its output, its exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def rag_graph_script() -> str:
    """The command `rag-graph` of this environment."""
    return str(Path(sys.executable).parent / "rag-graph")


@pytest.fixture(scope="session")
def run_cli(rag_graph_script: str) -> Cli:
    """Run `rag-graph` with these arguments and wait for its end."""

    def run(
        *arguments: str | Path, cwd: Path | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [rag_graph_script, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture(scope="session")
def finished(run_cli: Cli, tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A whole run, as small as it gets."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    small = [
        "sft.steps=8",
        "ppo.updates=2",
        "ppo.batch_size=16",
        "data.train=60",
        "data.test=10",
        f"output_dir={folder}",
    ]
    done = run_cli(
        "train",
        root / "experiments/quickstart/config.yaml",
        *(part for one in small for part in ("--set", one)),
        timeout_s=300,
    )
    assert done.returncode == 0, done.stderr
    assert "mean task score" in done.stdout
    assert f"run folder: {folder}" in done.stdout
    assert "well_formed" in done.stdout
    return folder
