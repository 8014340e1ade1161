"""The claim of experiments/quickstart at reduced size: PPO with the graph's rewards makes the model better, in under 3 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RAG_GRAPH = Path(sys.executable).parent / "rag-graph"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_mean_task_score_rises(root: Path, check_reduced: Callable[..., None], tmp_path: Path) -> None:
    """A process of its own, so that its peak memory is its own."""
    settings = ["seed=10", "ppo.updates=60", "data.test=50", f"output_dir={tmp_path / 'run'}"]
    command = [
        RAG_GRAPH,
        "train",
        root / "experiments/quickstart/config.yaml",
        *(p for one in settings for p in ("--set", one)),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    check_reduced("quickstart", {"gain": results["gain"]["mean"], "after": results["after"]["mean_task_score"]["mean"]})
    assert results["gain"]["low"] > 0, "the interval excludes no gain"
    assert results["peak_memory_bytes"] < 3e9
