"""Folders of runs that a comparison or a report reads."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph import Run, load_config, load_graph
from rag_graph.report.episode_pack import pack_episodes

TASKS = ("topic", "sentiment", "question", "summary")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write what a finished run leaves that a comparison reads: overrides, seed, scores after PPO -> its folder."""

    def write(name: str, seed: int, scores: dict[str, float] | float, *overrides: str, **manifest: Any) -> Path:
        folder = tmp_path / name / f"seed{seed}"
        folder.mkdir(parents=True)
        config = load_config(None, [*overrides, f"seed={seed}", f"output_dir={folder}"])
        after = scores if isinstance(scores, dict) else dict.fromkeys(TASKS, scores)
        (folder / "config.yaml").write_text(config.to_yaml())
        (folder / "graph.yaml").write_text(load_graph("parcels").to_yaml())
        about = {
            "data": {"topic/test": f"hash{seed}"},
            "rag_graph": "0.1.0",
            "versions": {"torch": "2.13.0"},
            "git": {"commit": "a" * 40},
            "graph_hash": "g0",
            "own_parts": {},
            "started": f"2026-01-0{seed % 9 + 1}",
        }
        (folder / "manifest.json").write_text(json.dumps(about | manifest))
        results = [{"task": task, "metric": "accuracy", "value": value} for task, value in after.items()]
        part = {"task_scores": after, "results": results}
        (folder / "results.json").write_text(
            json.dumps({"before": {"task_scores": dict.fromkeys(after, 0.1)}, "after": part})
        )
        (folder / "status.json").write_text('{"status": "finished"}')
        (folder / "metrics.jsonl").write_text(
            "".join(json.dumps({"stage": "ppo", "update": u, "objective/kl": u / 10}) + "\n" for u in range(1, 21))
        )
        return folder

    return write


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def unpacked() -> Callable[..., tuple[dict[str, Any], str]]:
    """A run, limits of the pack -> the rows and texts that a page holds, and what it says of them."""

    def unpack(run: Run, **limits: int) -> tuple[dict[str, Any], str]:
        pack = pack_episodes(run, **limits)
        found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(pack.packed)))
        return found, pack.said

    return unpack
