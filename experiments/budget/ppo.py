"""PPO with a judge at a local endpoint, within a budget: what is bought at random against what is bought actively.

    python experiments/budget/ppo.py --folder FOLDER             3 seeds, three arms -> FOLDER, ppo.json beside this file
    python experiments/budget/ppo.py --folder FOLDER --judge     only read the runs again

The task is the support desk of `rag-graph init`, its judge the server of docs/judges.md. A goal costs 10, a judge's mark 1, and 5% of the price of everything may be spent in an
update. `everything` has no limit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SHARE = 0.05
LIMIT = SHARE * 64 * 11
ARMS = {
    "random": (f"reward.budget.per_update={LIMIT}", "reward.budget.mode=random"),
    "active": (f"reward.budget.per_update={LIMIT}", "reward.budget.mode=active"),
    "everything": (),
}


def run_all(folder: Path, seeds: list[int]) -> None:
    """What is finished is passed over."""
    tool = [sys.executable, "-m", "rag_graph"]
    desk = folder / "desk"
    if not desk.is_dir():
        subprocess.run([*tool, "init", str(desk)], check=True, stdout=subprocess.DEVNULL)
        for name in ("goals.yaml", "config.yaml"):
            shutil.copy(HERE / "desk" / name, desk / name)
    server = subprocess.Popen([sys.executable, str(HERE.parents[1] / "docs/examples/judge_server.py"), "8019"])
    try:
        time.sleep(2)
        for seed in seeds:
            for arm, settings in ARMS.items():
                run = folder / f"{arm}-seed{seed}"
                if (run / "results.json").is_file():
                    continue
                shutil.rmtree(run, ignore_errors=True)
                chosen = [part for one in (*settings, f"seed={seed}", f"output_dir={run}") for part in ("--set", one)]
                done = subprocess.run(
                    [*tool, "train", str(desk / "config.yaml"), *chosen],
                    capture_output=True,
                    text=True,
                    env={**os.environ, "DESK_KEY": "none"},
                )
                print(f"{arm} seed {seed}: {'done' if done.returncode == 0 else done.stderr[-500:]}", flush=True)
    finally:
        server.terminate()


def read(folder: Path, seeds: list[int]) -> list[dict[str, object]]:
    """Of each run the held-out goal before and after, and what was bought in the mean of an update."""
    rows: list[dict[str, object]] = []
    for seed in seeds:
        for arm in ARMS:
            run = folder / f"{arm}-seed{seed}"
            if not (run / "results.json").is_file():
                continue
            results = json.loads((run / "results.json").read_text())
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            updates = [line for line in lines if "nodes/helpful/bought" in line or "nodes/helpful/observed" in line]
            row: dict[str, object] = {"arm": arm, "seed": seed}
            row |= {part: round(results[part]["mean_task_score"]["mean"], 4) for part in ("before", "after")}
            for name in ("budget/spent", "nodes/helpful/bought", "nodes/reply/bought"):
                found = [line[name] for line in updates if name in line]
                row[name] = round(sum(found) / len(found), 4) if found else None
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--judge", action="store_true", help="only read the runs")
    options = parser.parse_args()
    folder, seeds = options.folder.absolute(), list(range(options.seeds))
    if not options.judge:
        folder.mkdir(parents=True, exist_ok=True)
        run_all(folder, seeds)
    rows = read(folder, seeds)
    (HERE / "ppo.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
