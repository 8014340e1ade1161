"""Does the retriever learn which passage is useful? Are generator and retriever better together? A test on a corpus made for this.

    python experiments/cotrain/run.py               # all arms, seeds 3 to 5: about 15 minutes on two cores
    python experiments/cotrain/run.py --quick       # one seed, 15 updates
    python experiments/cotrain/run.py --show        # run nothing; the table again from results.json

Arms, at equal updates and episodes, from the same warm-up:

    none            nothing learns after the warm-up
    generator       the generator learns by PPO, the retriever does not learn
    retriever       the retriever learns by perplexity distillation, the generator does not learn
    perplexity, reward, policy_gradient        both learn, the retriever by this method

Two more arms have no PPO: the supervised warm-ups of the retriever (contrastive, likelihood).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FROZEN = "ppo.learning_rate=1.0e-12"
NO_LEARNING = "retrieval.learn.method=none"
ARMS = {
    "none": [FROZEN, NO_LEARNING, "ppo.updates=1"],
    "generator": [NO_LEARNING],
    "retriever": [FROZEN],
    "perplexity": [],
    "reward": ["retrieval.learn.method=reward"],
    "policy_gradient": ["retrieval.learn.method=policy_gradient"],
    "contrastive_warm_up": [FROZEN, NO_LEARNING, "ppo.updates=1", "retrieval.learn.warm_up=contrastive"],
    "likelihood_warm_up": [FROZEN, NO_LEARNING, "ppo.updates=1", "retrieval.learn.warm_up=likelihood"],
}


def one_run(arm: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Make the corpus, train, and read what came out; in a process of its own."""
    sys.path.insert(0, str(HERE))
    import task

    place = folder / f"{arm}-seed{seed}"
    shutil.rmtree(place, ignore_errors=True)
    task.make(place, seed)
    shutil.copy(HERE / "graph.yaml", place / "graph.yaml")
    settings = [f"graph={place / 'graph.yaml'}", f"seed={seed}", f"output_dir={place / 'run'}", *overrides, *ARMS[arm]]
    command = [sys.executable, "-c", "from rag_graph.cli.app import main; main()", "train", str(HERE / "config.yaml")]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arm}, seed {seed}: {done.stderr[-2000:]}")
    before, after = (json.loads((place / f"run/evaluation/{name}.json").read_text()) for name in ("before", "after"))
    lines = [json.loads(line) for line in (place / "run/metrics.jsonl").read_text().splitlines()]
    if arm.endswith("warm_up"):  # the evaluation before PPO comes after the warm-up of the retriever
        before = after
    return {
        "arm": arm,
        "seed": seed,
        "score": after["mean_task_score"]["mean"],
        "recall@1": after["retrieval"]["retrieval/hit@1"],
        "not_used": after["retrieval"].get("not_used", {}).get("mean"),
        "score_before": before["mean_task_score"]["mean"],
        "recall@1_before": before["retrieval"]["retrieval/hit@1"],
        "training_recall@1": [round(line["retrieval/hit@1"], 3) for line in lines if "retrieval/hit@1" in line],
        "seconds": json.loads((place / "run/results.json").read_text())["seconds"],
    }


TOGETHER, ALONE = ("perplexity", "reward", "policy_gradient"), ("generator", "retriever")


def show(rows: list[dict[str, Any]]) -> None:
    """Means over seeds with 95% t intervals; both together against either alone, paired by seed."""
    from rich.console import Console
    from rich.table import Table

    sys.path.insert(0, str(HERE))
    from together import show_differences

    from rag_graph.evaluation.statistics import run_interval

    table = Table(
        "arm", "seeds", "task score", "recall@1", "not used", "recall@1 before", box=None, header_style="bold"
    )
    for arm in ARMS:
        mine = [row for row in rows if row["arm"] == arm]
        if not mine:
            continue

        def mean(name: str, mine: list[dict[str, Any]] = mine) -> str:
            values = [row[name] for row in mine if row[name] is not None]
            if not values:
                return ""
            return str(run_interval([[value] for value in values])).replace("[", "\\[")

        table.add_row(arm, str(len(mine)), mean("score"), mean("recall@1"), mean("not_used"), mean("recall@1_before"))
    console = Console(width=150)
    console.print(table)
    scores = {arm: {row["seed"]: row["score"] for row in rows if row["arm"] == arm} for arm in ARMS}
    show_differences(console, "task score", scores, TOGETHER, ALONE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4, 5])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--quick", action="store_true", help="one seed, 15 updates, nothing written")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of all arms")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--show", action="store_true", help="run nothing, read the results again")
    arguments = parser.parse_args()
    if arguments.show:
        show(json.loads(arguments.out.read_text(encoding="utf-8")))
        return
    overrides = [*arguments.set, *(["ppo.updates=15"] if arguments.quick else [])]
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        waiting = [pool.submit(one_run, arm, seed, Path(folder), overrides) for seed in seeds for arm in arguments.arms]
        rows = []
        for job in waiting:
            rows.append(job.result())
            row = rows[-1]
            print(
                f"{row['arm']}, seed {row['seed']}: score {row['score']:.3f}, recall@1 {row['recall@1']:.3f}",
                flush=True,
            )
    if arguments.quick:
        show(rows)
        return
    if arguments.out.is_file():  # what this call did not run again stays
        done = {(row["arm"], row["seed"]) for row in rows}
        kept = json.loads(arguments.out.read_text(encoding="utf-8"))
        rows = [row for row in kept if (row["arm"], row["seed"]) not in done] + rows
    show(rows)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(arguments.out)


if __name__ == "__main__":
    main()
