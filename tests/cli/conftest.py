"""A run that the command line made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="session")
def finished(run_process: Cli, tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
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
    done = run_process(
        "train",
        root / "experiments/quickstart/config.yaml",
        *(part for one in small for part in ("--set", one)),
    )
    assert done.returncode == 0, done.stderr
    assert "mean task score" in done.stdout
    assert f"run folder: {folder}" in done.stdout
    assert "well_formed" in done.stdout
    return folder
