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
from rag_graph.evaluation.statistics import Interval
from rag_graph.report.episode_pack import pack_episodes
from rag_graph.reward.offline.findings import Finding, Weight
from rag_graph.reward.offline.fit_report import Bin, CurvePoint, FitReport, Score

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
            "config_hash": "c0",
            "graph_root": str(folder),
            "command": [],
            "callbacks": ["Early"],
            "own_parts": {},
            "started": f"2026-01-0{seed % 9 + 1}",
        }
        (folder / "manifest.json").write_text(json.dumps(about | manifest))
        mean = dict.fromkeys(("mean", "low", "high"), 0.5)
        shape = {"metric": "accuracy", "low": 0.0, "high": 1.0, "n": 8}
        results = [{"task": task, "value": value, **shape} for task, value in after.items()]
        part = {"task_scores": after, "results": results, "mean_task_score": mean, "shown": None}
        before = {**part, "task_scores": dict.fromkeys(after, 0.1)}
        rest: dict[str, Any] = {"gain": mean, "without_retrieval": None, "seconds": {}, "peak_memory_bytes": None}
        (folder / "results.json").write_text(json.dumps({"before": before, "after": part, **rest}))
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


@pytest.fixture
def fit_report() -> FitReport:
    """A fit of two readouts, with one of everything."""
    flat, ridge = (Interval(mean, mean - 0.1, mean + 0.1) for mean in (0.6, 0.7))
    return FitReport(
        graph="made",
        readout="ridge",
        rows=4000,
        used=2048,
        groups=20,
        grouped_by="prompt",
        pairs=0,
        folds=5,
        goals={"goal": 40},
        observed={"goal": 0.01, "right": 0.5},
        scores=(
            Score("flat", flat, ridge, None, None, None, 1.0),
            Score("ridge", ridge, ridge, None, Interval(0.8, 0.7, 0.9), Interval(0.1, 0.02, 0.18), 2.0),
        ),
        curve=tuple(
            CurvePoint(name, goals, Interval(mean, mean - 0.1, mean + 0.1))
            for name, means in (("flat", (0.6, 0.6)), ("ridge", (0.5, 0.7)))
            for goals, mean in zip((8, 32), means, strict=True)
        ),
        calibration=(Bin(0.2, Interval(0.25, 0.2, 0.3), 20), Bin(0.8, Interval(0.75, 0.7, 0.8), 20)),
        best="ridge",
        simplest="flat",
        worth_using="ridge",
        verdict="`ridge` is worth using",
        proposals=(),
        gates=(Finding("idle", "form", "goal", "bounds", "form -> goal (bound) lowers 0 rows", "f.yaml:7"),),
        weights=(
            Weight("goal", "right", Interval(0.3, 0.2, 0.4), False, False, "indicates", "f.yaml:6"),
            Weight("goal", "noise <b>", Interval(0.01, -0.1, 0.12), True, False, ""),
        ),
        notes=("a note",),
        cannot_know=("a learning curve: too few",),
        seconds=12.0,
    )
