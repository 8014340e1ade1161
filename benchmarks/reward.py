"""Cost of the graph reward: features, encoder and readout for a batch of 64 episodes on graphs of 24, 240 and 2,400 nodes.

    python benchmarks/reward.py                   # all sizes, 5 interleaved repetitions, one thread: about three minutes
    python benchmarks/reward.py --sizes 24 240 --repetitions 2

Graphs have E = 2.5 N relations. With $RAG_GRAPH_DATA the largest graph is a real one: the tasks of Super-NaturalInstructions, related by
category and source data set, with criteria for gates and supports. Otherwise it is random. Sizes and the PPO update of the tiny model of
`ppo_vs_trl.py` (64 episodes, shared backbone) alternate within a repetition. Every number is the processor time of one call as a share of
that update. `call` is the time before the trainer can learn (`GraphReward.__call__` on tensors). `learn` is the time after the
update: statistics, fit of the imputer, alarms, the step of the graph. Writes `reward.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ppo_vs_trl import measure, prepare

from rag_graph.config import RewardConfig
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example
from rag_graph.reward import GraphReward

BATCH = 64
WARM = 36
"""Updates before anything is timed: the memory is full then, and the first fits, which take more turns, are over."""
SIZES = (24, 240, 2400)


def drawn_graph(size: int, seed: int = 0) -> AuxiliaryGraph:
    """A third of the nodes are tasks, the rest criteria of one or two of them; 2.5 relations a node."""
    rng = random.Random(seed)
    tasks, criteria = [f"t{i}" for i in range(size // 3)], [f"c{i}" for i in range(size - size // 3)]
    return _graph("drawn", tasks, {name: rng.sample(tasks, min(2, len(tasks))) for name in criteria}, [], size, rng)


def real_graph(folder: Path) -> AuxiliaryGraph:
    """1,654 tasks, related where category or source data set is the same, and a criterion for each category: about 2,400 nodes."""
    rng = random.Random(0)
    rows = [json.loads(line) for line in (folder / "task_metadata" / "niv2_tasks.jsonl").open(encoding="utf-8")]
    groups: dict[str, list[str]] = {}
    names = [f"task{i}" for i in range(len(rows))]
    for name, row in zip(names, rows, strict=True):
        for kind in ("category", "source"):
            value = row.get(kind)
            groups.setdefault(f"{kind} {value if isinstance(value, str) else json.dumps(value)}", []).append(name)
    related = [(a, b) for members in groups.values() for a, b in pairwise(members)]
    size = 2400
    criteria = [f"c{i}" for i in range(size - len(names))]
    of_groups = [members for members in groups.values() if len(members) > 1]
    return _graph(
        "niv2", names, {name: of_groups[i % len(of_groups)][:3] for i, name in enumerate(criteria)}, related, size, rng
    )


def _graph(
    name: str,
    tasks: list[str],
    criteria: dict[str, list[str]],
    related: list[tuple[str, str]],
    size: int,
    rng: random.Random,
) -> AuxiliaryGraph:
    wanted = int(2.5 * size)
    edges = {(a, b, "shares_structure") for a, b in related}
    edges = set(sorted(edges)[: wanted // 2])
    pairs = [(c, t) for c, ts in criteria.items() for t in ts]
    while len(edges) < wanted and pairs:
        source, target = rng.choice(pairs) if rng.random() < 0.8 else (rng.choice(tasks), rng.choice(tasks))
        kind = (
            rng.choice(("bounds", "indicates", "indicates_low", "prerequisite", "supports", "conflicts"))
            if source in criteria
            else "shares_structure"
        )
        if source != target and not any(
            (source, target, other) in edges
            for other in ("bounds", "indicates", "indicates_low", "prerequisite", "supports", "conflicts")
        ):
            edges.add((source, target, kind))
    task = {
        "kind": "generation",
        "goal": 1.0,
        "metrics": {"rouge_l": 1.0},
        "prompt": "{input}",
        "fields": {"input": "x", "reference": "y"},
    }
    spec = {
        "format": 1, "name": name, "tasks": dict.fromkeys(tasks, task),
        "criteria": {c: {"metric": "format", "applies_to": ts} for c, ts in criteria.items()},
        "edges": [{"from": a, "to": b, "relation": r, "strength": 0.5} for a, b, r in sorted(edges)],
    }  # fmt: skip
    return AuxiliaryGraph(GraphSpec.model_validate(spec))


class Reward:
    """A reward on a graph, with a batch of episodes to score and to learn from."""

    def __init__(self, graph: AuxiliaryGraph, fit_steps: int | None) -> None:
        rng = random.Random(1)
        settings = {} if fit_steps is None else {"fit_steps": fit_steps}
        self.reward = GraphReward(
            graph,
            lambda episode, nodes=None: episode.scores,
            RewardConfig(goal_observed=0.3, **settings),
            lambda **_: [],
        )
        names = list(graph.spec.tasks)
        self.episodes = []
        for i in range(BATCH):
            task = rng.choice(names)
            nodes = [name for name in graph.nodes if graph.applies(name, task)]
            scores = {name: rng.random() for name in nodes if rng.random() < (0.3 if name == task else 0.8)}
            self.episodes.append(
                Episode(str(i), Example(str(i), task, {"input": "x"}), "", f"answer {i}", scores=scores)
            )

        for _ in range(WARM):
            self.learn()

    def call(self) -> None:
        self.reward.node_rewards(self.episodes)

    def learn(self) -> None:
        self.reward.learn(self.reward.pay(self.episodes))


def processor_seconds(work: Any, least: float = 0.3) -> float:
    """Of one call: repeated until `least` seconds have gone, eight times together, because every eighth fit is of all tasks in the batch."""
    work()
    began, calls = time.process_time(), 0
    while calls == 0 or time.process_time() - began < least:
        for _ in range(8):
            work()
        calls += 8
    return (time.process_time() - began) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("reward.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = os.environ.get("RAG_GRAPH_DATA")
    real = data is not None and (Path(data) / "task_metadata" / "niv2_tasks.jsonl").is_file()
    graphs = {
        size: real_graph(Path(data)) if real and data and size == 2400 else drawn_graph(size) for size in options.sizes
    }
    rewards = {size: Reward(graph, None) for size, graph in graphs.items()}
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare("tiny", Path(folder), full_length=False)
        for repetition in range(options.repetitions):
            update = measure("shared", "tiny", Path(folder), "cpu")["seconds"]
            found.setdefault("ppo_update", []).append(update)
            for size, reward in rewards.items():
                found.setdefault(f"call/{size}", []).append(processor_seconds(reward.call))
                found.setdefault(f"learn/{size}", []).append(processor_seconds(reward.learn))
            print(f"repetition {repetition + 1} of {options.repetitions} done", file=sys.stderr)
    print(f"PPO update of the tiny model: {statistics.median(found['ppo_update']):.3f} processor seconds")
    print("nodes  relations   call, ms   share of update [min, max]     learn, ms   share")
    for size in options.sizes:
        call, learn = found[f"call/{size}"], found[f"learn/{size}"]
        shares = [c / u for c, u in zip(call, found["ppo_update"], strict=True)]
        learned = [c / u for c, u in zip(learn, found["ppo_update"], strict=True)]
        print(
            f"{size:5d} {len(graphs[size].spec.edges):8d} {1e3 * statistics.median(call):11.1f} {statistics.median(shares):8.1%} "
            f"[{min(shares):.1%}, {max(shares):.1%}] {1e3 * statistics.median(learn):14.1f} {statistics.median(learned):8.1%}"
        )
    options.out.write_text(
        json.dumps({"seconds": found, "relations": {s: len(g.spec.edges) for s, g in graphs.items()}}, indent=1)
    )


if __name__ == "__main__":
    main()
