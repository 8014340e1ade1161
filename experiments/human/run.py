"""Human judgements beside partial scores: is the default readout ever worse than the best simple thing?

    python experiments/human/run.py                        50 splits of every set, all readouts that fit in closed form -> results.json: more than an hour
    python experiments/human/run.py --splits 4 --sets frank
    python experiments/human/run.py --judge                only read results.json

Needs `human_labels` under $RAG_GRAPH_DATA. A cell is a set, a number of goals that are seen, and a share of hidden scores. Every readout sees the
same rows, goals and gaps. Its numbers are means over splits; differences are paired by split, with their standard error over splits in brackets. Splits
of one table share its rows, so the error says how far other splits would change the number, and not how far other data would.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from data import Table, folder, load, split  # noqa: E402
from fit import INTERVAL, episodes, fitted, pay  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from rich.table import Table as Columns  # noqa: E402

from rag_graph.evaluation.agreement import pair_accuracy, spearman  # noqa: E402
from rag_graph.reward.readouts import READOUTS  # noqa: E402
from rag_graph.runtime import write_atomically  # noqa: E402

SETS = ("frank", "rubric_synth", "rubric_real", "topical_chat", "nlg_quality", "fed_turn", "fed_dialog")
GOALS, HIDDEN = (8, 32, 128), (0.0, 0.5, 0.8)
OURS = "expected_goal"
CLOSED = tuple(
    name for name, readout in READOUTS.items() if readout.fit != "gradient" and name not in ("goal_only", "random")
)
Cell = dict[str, Any]


def measure(name: str, part: str, goals: int, hidden: float, seeds: list[int], readouts: tuple[str, ...]) -> list[Cell]:
    """One cell's splits: Spearman and pair accuracy of each readout, and the coverage of the default's intervals."""
    where = folder()
    assert where is not None
    table, found = load(where, name, part), []
    for seed in seeds:
        cut = split(table, seed, goals, hidden)
        row: Cell = {"set": name, "goals": goals, "hidden": hidden, "seed": seed, "spearman": {}, "pairs": {}}
        for readout in readouts:
            reward = fitted(table, cut, readout, seed)
            paid = pay(reward, table, cut)
            row["spearman"][readout] = round(spearman(paid, cut.test_goal), 4)
            row["pairs"][readout] = round(pair_accuracy(paid, cut.test_goal), 4)
            if readout == OURS:
                row["covered"] = round(coverage(reward, table, cut.test, cut.test_goal), 4)
        found.append(row)
    return found


def coverage(reward: Any, table: Table, scores: Any, goal: Any) -> float:
    """Share of the goals that are kept apart within the interval that the reward states for them."""
    stated = reward.predict_goal(episodes(scores, table.criteria, goal, ()), INTERVAL)
    return float(np.mean([one.low - 1e-6 <= value <= one.high + 1e-6 for one, value in zip(stated, goal, strict=True)]))


def cells(results: list[Cell], what: str) -> list[Cell]:
    """Means over splits, and the default against the best baseline of each cell."""
    made = []
    for key in dict.fromkeys((row["set"], row["hidden"], row["goals"]) for row in results):
        rows = [row for row in results if (row["set"], row["hidden"], row["goals"]) == key]
        means = {name: float(np.mean([row[what][name] for row in rows])) for name in rows[0][what]}
        best = max((name for name in means if name != OURS), key=means.__getitem__)
        gaps = [row[what][OURS] - row[what][best] for row in rows]
        made.append(
            {
                "key": key,
                "means": means,
                "best": best,
                "gap": float(np.mean(gaps)),
                "error": float(np.std(gaps, ddof=1) / len(gaps) ** 0.5) if len(gaps) > 1 else float("nan"),
            }
        )
    return made


def show(console: Console, results: list[Cell]) -> None:
    for what in ("spearman", "pairs"):
        found = cells(results, what)
        table = Columns(
            "set",
            "hidden",
            "goals seen",
            OURS,
            "best baseline",
            "",
            "difference",
            title=f"{what}, mean over {len({row['seed'] for row in results})} splits",
            title_justify="left",
            box=None,
        )
        for cell in found:
            name, hidden, goals = cell["key"]
            mark = " *" if cell["gap"] < -0.01 else ""
            table.add_row(
                name,
                f"{hidden:.0%}",
                str(goals),
                f"{cell['means'][OURS]:.3f}",
                cell["best"],
                f"{cell['means'][cell['best']]:.3f}",
                f"{cell['gap']:+.3f} ({cell['error']:.3f}){mark}",
            )
        console.print(table)
        names = list(found[0]["means"])
        means = {name: float(np.mean([cell["means"][name] for cell in found])) for name in names}
        ordered = sorted(means, key=means.__getitem__, reverse=True)
        console.print(f"mean over {len(found)} cells: " + ", ".join(f"{name} {means[name]:.3f}" for name in ordered))
        console.print(
            f"more than .01 below the best baseline of its cell (*): {sum(cell['gap'] < -0.01 for cell in found)} of {len(found)} cells; worst {min(cell['gap'] for cell in found):+.3f}"
        )
    by_set = {
        name: float(np.mean([row["covered"] for row in results if row["set"] == name]))
        for name in dict.fromkeys(row["set"] for row in results)
    }
    console.print(
        f"{INTERVAL:.0%} intervals of the predicted goal cover: all {np.mean([row['covered'] for row in results]):.3f}; "
        + ", ".join(f"{name} {value:.3f}" for name, value in by_set.items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first split")
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument(
        "--readouts", nargs="*", default=CLOSED, choices=tuple(READOUTS), help="default: those that fit in closed form"
    )
    parser.add_argument("--part", default="dev", help="NAME.PART.jsonl is read")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--judge", action="store_true", help="only read the results")
    args = parser.parse_args()
    console = Console(width=140)
    if not args.judge:
        if folder() is None:
            parser.exit(2, "human_labels is not under $RAG_GRAPH_DATA. Set it to the folder that contains it.\n")
        readouts = tuple(dict.fromkeys([OURS, *args.readouts]))
        seeds = list(range(args.first, args.first + args.splits))
        jobs = [
            (name, args.part, goals, hidden, seeds[i : i + 5], readouts)
            for name in args.sets
            for hidden in HIDDEN
            for goals in GOALS
            for i in range(0, len(seeds), 5)
        ]
        results: list[Cell] = []
        start = time.time()
        with (
            ProcessPoolExecutor(args.workers) as pool,
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            ) as progress,
        ):
            bar = progress.add_task("splits", total=len(jobs))
            for rows in pool.map(measure, *zip(*jobs, strict=True)):
                results += rows
                progress.advance(bar)
        order = {name: at for at, name in enumerate(SETS)}
        results.sort(key=lambda row: (order[row["set"]], row["hidden"], row["goals"], row["seed"]))
        write_atomically(
            args.out, json.dumps({"part": args.part, "seconds": round(time.time() - start), "rows": results}) + "\n"
        )
    show(console, json.loads(args.out.read_text(encoding="utf-8"))["rows"])


if __name__ == "__main__":
    main()
