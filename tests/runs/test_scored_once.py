"""In a whole run each episode is scored once an update, and what was paid is what is learned from and recorded."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rag_graph.graph import load_graph
from rag_graph.records import Episode
from rag_graph.runs.progress import StageProgress
from rag_graph.runs.train import train
from rag_graph.runtime import read_jsonl

MINE = ["ppo.updates=2", "ppo.checkpoint_every=0", "reward.reserved=0.4", "reward.goal_observed=0.5"]


class Counted:
    """Scorers of every node of a graph: a random number at every call, which is counted by node and episode."""

    def __init__(self, graph: str) -> None:
        spec = load_graph(graph).spec
        self.calls: Counter[tuple[str, str]] = Counter()
        self.said: dict[tuple[str, str], float] = {}
        self.random = random.Random(0)
        self.scorers = {node: self.scorer_of(node) for node in (*spec.tasks, *spec.criteria)}

    def scorer_of(self, node: str) -> Callable[[Episode], float]:
        def score(episode: Episode) -> float:
            self.calls[node, episode.id] += 1
            self.said[node, episode.id] = self.random.random()
            return self.said[node, episode.id]

        return score

    def check(self, folder: Path) -> None:
        """Against episodes.jsonl, in which an episode's id is UPDATE/EXAMPLE."""
        lines = [line for _, line in read_jsonl(folder / "episodes.jsonl")]
        asked = Counter(line["id"] for line in lines)
        of_updates = {key: count for key, count in self.calls.items() if key[1] in asked}
        assert {name for _, name in of_updates} == set(asked), "all were scored"
        assert all(count <= asked[name] for (_, name), count in of_updates.items()), "none twice"
        for line in lines:
            if asked[line["id"]] == 1:
                for node, score in {**line["scores"], **line["reserved"]}.items():
                    assert score == pytest.approx(self.said[node, line["id"]], abs=1e-4), "the score that was paid"
        for row in [row for _, row in read_jsonl(folder / "metrics.jsonl") if row["stage"] == "ppo"]:
            paid = [line["reward"] for line in lines if line["update"] == row["update"] and line["reward"] is not None]
            assert row["objective/scores"] == pytest.approx(sum(paid) / len(paid), abs=1e-4)
            shares = [sum(line["paid"].values()) for line in lines if line["update"] == row["update"]]
            assert sum(shares) / len(shares) == pytest.approx(sum(paid) / len(paid), abs=2e-3)


@pytest.mark.parametrize("method", ["none", "meta_gradient"])
def test_a_run_scores_each_episode_once(root: Path, tmp_path: Path, small: tuple[str, ...], method: str) -> None:
    counted, folder = Counted("parcels"), tmp_path / "run"
    more = [*MINE, f"reward.learn.method={method}", "reward.learn.warm_up=0", f"output_dir={folder}"]
    config = root / "experiments/quickstart/config.yaml"
    train(config, [*small, *more], scorers=counted.scorers, progress=StageProgress(quiet=True))
    counted.check(folder)


def test_a_run_whose_retriever_learns_scores_each_episode_once(
    root: Path, tmp_path: Path, small: tuple[str, ...], load_script: Callable[[str], ModuleType]
) -> None:
    load_script("experiments/cotrain/task.py").make(tmp_path, 0, train_items=12, test_items=4)
    graph = tmp_path / "graph.yaml"
    graph.write_text((root / "experiments/cotrain/graph.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    counted, folder = Counted(str(graph)), tmp_path / "run"
    settings: list[Any] = [*small, *MINE, f"graph={graph}", "retrieval.learn.queries=4", "retrieval.learn.candidates=4"]
    settings += ["retrieval.learn.warm_up=none", f"output_dir={folder}"]
    config = root / "experiments/cotrain/config.yaml"
    train(config, settings, scorers=counted.scorers, progress=StageProgress(quiet=True))
    counted.check(folder)
