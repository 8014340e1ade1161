"""The claim of experiments/quickstart, at full size: PPO with the graph's rewards makes the model better, and retrieval matters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RAG_GRAPH = Path(sys.executable).parent / "rag-graph"


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, float]]]:
    """results.json of seeds 0, 1, 2; each run is a process of its own, so that its peak memory is its own."""
    found = []
    for seed in (0, 1, 2):
        folder = tmp_path_factory.mktemp("quickstart") / f"seed{seed}"
        command = [
            RAG_GRAPH,
            "train",
            root / "experiments/quickstart/config.yaml",
            "--set",
            f"seed={seed}",
            "--set",
            f"output_dir={folder}",
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        found.append(json.loads((folder / "results.json").read_text()))
    return found


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_mean_task_score_rises(results: list[dict[str, dict[str, float]]]) -> None:
    gains = [result["gain"] for result in results]
    assert sum(gain["mean"] for gain in gains) / 3 >= 0.08
    assert all(gain["low"] > 0 for gain in gains), "the interval of every seed excludes no gain"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_answering_without_retrieval_is_worse(results: list[dict[str, dict[str, float]]]) -> None:
    losses = [result["without_retrieval"]["loss"] for result in results]  # type: ignore[index]
    assert all(loss["high"] < 0 for loss in losses)  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_it_fits_into_three_gigabytes(results: list[dict[str, dict[str, float]]]) -> None:
    assert all(result["peak_memory_bytes"] < 3e9 for result in results)  # type: ignore[operator]
