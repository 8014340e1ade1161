"""Fits every readout on the same visible scores of stored pools, and judges what it pays for answers to other prompts, goals hidden.

    python experiments/pool/judge.py                          dev part, all pools and readouts, 20 masks
    python experiments/pool/judge.py --readouts flat ridge --again
    python experiments/pool/judge.py --part test              once, at the end: nothing is chosen on these prompts
    python experiments/pool/judge.py --tables                 only print the tables of results.json

What was judged is kept beside the pools, one file for each pool and mask; a run that was stopped, or a readout that is new, goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from measures import METRICS, measure  # noqa: E402
from outcome import dump, plain, print_tables, summary  # noqa: E402
from pools import GRAPHS  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from stored import CELLS, HIDDEN, Judged, Stored, load_pool  # noqa: E402

from rag_graph.config import RewardConfig  # noqa: E402
from rag_graph.records import Episode  # noqa: E402
from rag_graph.reward.readouts import READOUTS  # noqa: E402
from rag_graph.reward.reward import GraphReward  # noqa: E402
from rag_graph.runtime import write_atomically  # noqa: E402

MASKS = 20
FIT_STEPS = 200
"""Gradient steps of a readout that learns by them: what it has after 25 updates."""


def reward_for(
    pool: Stored, readout: str, share: float, mask: int, seen: Mapping[str, Mapping[str, float]]
) -> GraphReward:
    """A reward that is not fitted yet. seen: the scores of each episode to fit on, the goal among them."""
    # A readout that pays only what was observed ranks by its criteria here, because goals are hidden: eta is 1 then. Others keep their default.
    only_observed = not getattr(READOUTS[readout], "pays_unobserved", True)
    config = RewardConfig(
        readout=readout, goal_observed=share, reserved=0.0, fit_steps=FIT_STEPS, learn={"method": "none"},
        **({"auxiliary": 1.0} if only_observed else {}),
    )  # fmt: skip

    def score(episode: Episode, nodes: Collection[str] | None = None) -> dict[str, float]:
        return {n: value for n, value in seen[episode.id].items() if nodes is None or n in nodes}

    return GraphReward(pool.graph, score, config, lambda *_, **__: [], mask)


def judge_mask(pool: Stored, part: str, mask: int, readouts: Sequence[str]) -> Judged:
    """Fit and judge readouts in all cells, on the same visible scores."""
    fit, held_out = pool.split(part, mask)
    found: Judged = {
        name: np.full((len(CELLS), len(METRICS), len(pool.goals)), np.nan, np.float32) for name in readouts
    }
    found |= {f"{name}/kl": np.zeros((len(CELLS), sum(m.startswith("policy") for m in METRICS))) for name in readouts}
    found |= {f"{name}/seconds": np.zeros(len(CELLS)) for name in readouts}
    goals = pool.goals[held_out]
    for hidden in HIDDEN:
        visible = pool.visible(hidden, mask)
        asked = [
            episode.with_scores(scores)
            for group in held_out
            for episode, scores in zip(pool.episodes[group], visible[group], strict=True)
        ]
        seen = {
            episode.id: scores | {pool.task: float(goal)}
            for group in fit
            for episode, scores, goal in zip(pool.episodes[group], visible[group], pool.goals[group], strict=True)
        }
        train = [episode for group in fit for episode in pool.episodes[group]]
        for place, cell in enumerate(CELLS):
            if cell.hidden != hidden:
                continue
            observed: list[Episode] | None = None
            for name in readouts:
                began = time.process_time()
                reward = reward_for(pool, name, cell.share, mask, seen)
                observed = reward.observe(train) if observed is None else observed
                reward.learn(reward.pay(observed))
                paid = reward.node_rewards(asked).total().double().numpy().reshape(goals.shape)
                values, kls = measure(paid, goals)
                for row, metric in enumerate(METRICS):
                    found[name][place, row, held_out] = values[metric]
                found[f"{name}/kl"][place] = list(kls.values())
                found[f"{name}/seconds"][place] = time.process_time() - began
    return found


# ---------------------------------------------------------------------- what was judged, on disk


def kept(path: Path) -> Judged:
    if not path.is_file():
        return {}
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def keep(path: Path, judged: Judged) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp.npz")
    np.savez_compressed(beside, **judged)
    os.replace(beside, path)


def file_of(folder: Path, part: str, pool: str, mask: int) -> Path:
    return folder / "judged" / part / f"{pool}-{mask}.npz"


def _job(folder: Path, part: str, name: str, mask: int, readouts: Sequence[str]) -> None:
    torch.set_num_threads(1)
    path = file_of(folder, part, name, mask)
    found = judge_mask(load_pool(folder, name), part, mask, readouts)
    keep(path, kept(path) | found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("dev", "test"), default="dev")
    parser.add_argument("--pools", type=Path, default=HERE / "pools", help="folder of the stored pools")
    parser.add_argument("--pool", nargs="*", default=[], help="names of pools; default all that are stored")
    parser.add_argument("--readouts", nargs="*", default=list(READOUTS), choices=list(READOUTS), help="default all")
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--again", action="store_true", help="fit these readouts again, also where they are known")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--metric", nargs="*", default=["pairs", "policy_1"], choices=METRICS, help="metrics of the tables"
    )
    parser.add_argument(
        "--out", type=Path, help="default results.json beside this file; results-test.json for the test part"
    )
    parser.add_argument("--tables", action="store_true", help="fit nothing, print the tables of --out")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 200)
    out = options.out or HERE / ("results.json" if options.part == "dev" else "results-test.json")
    if options.tables:
        print_tables(json.loads(out.read_text()), console, options.metric)
        return
    names = options.pool or [
        path.stem for path in sorted(GRAPHS.glob("*.yaml")) if (options.pools / f"{path.stem}.jsonl").is_file()
    ]
    if not names:
        sys.exit(f"no pool in {options.pools}. Draw them first: python experiments/pool/sample.py")
    jobs = []
    for name in names:
        for mask in range(options.masks):
            known = {} if options.again else kept(file_of(options.pools, options.part, name, mask))
            todo = [readout for readout in options.readouts if readout not in known]
            if todo:
                jobs.append((options.pools, options.part, name, mask, todo))
    began = time.perf_counter()
    columns = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar, ProcessPoolExecutor(options.workers) as executor:
        progress = bar.add_task("pools x masks", total=len(jobs))
        for done in as_completed([executor.submit(_job, *job) for job in jobs]):
            done.result()
            bar.advance(progress)
    results: dict[str, Any] = {
        "part": options.part, "masks": options.masks, "readouts": list(options.readouts),
        "seconds": round(time.perf_counter() - began), "pools": [], "cells": [],
    }  # fmt: skip
    for name in names:
        pool = load_pool(options.pools, name)
        judged = [kept(file_of(options.pools, options.part, name, mask)) for mask in range(options.masks)]
        results["pools"].append(plain(pool, options.part))
        results["cells"] += summary(pool, judged, options.readouts)
    write_atomically(out, dump(results))
    print_tables(results, console, options.metric)
    console.print(f"written: {out}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
