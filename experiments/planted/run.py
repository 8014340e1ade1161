"""The planted experiment: does a graph of goals help where most goal scores are missing?

    python experiments/planted/run.py                 all arms, 16 seeds, tabular policy, about an hour on one core -> results.json
    python experiments/planted/run.py --quick         the main arms in one setting, 4 seeds, under a minute
    python experiments/planted/run.py --policy lm     the main arms with a small language model and GraphPPOTrainer
    python experiments/planted/run.py --judge         run nothing; intervals, tables and hypotheses again from the goals in results.json

Every number is the true goal score of the trained policy: a mean over seeds with a 95% t interval. Differences are paired by seed (`judge.py`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import torch  # noqa: E402
from arms import ARMS, BY_NAME, Arm  # noqa: E402
from judge import LM, draws_of, interval_of, print_table, verdicts  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from tabular import run  # noqa: E402
from task import PlantedTask  # noqa: E402

from rag_graph.runtime import write_atomically  # noqa: E402

TASKS = {task.name: task for task in (PlantedTask(trap=True), PlantedTask(trap=True, wide=True), PlantedTask())}
SHARES = (0.3, 0.1, 0.03)
QUICK = ("goal_only", "flat", "diffusion", "gated_fixed", "ridge", "prior_gnn")
WIDE = ("goal_only", "goal_only_twice", "flat", "diffusion", "gated_fixed", "ridge", "mlp", "gnn", "prior", "prior_gnn")
TABULAR = "tabular"
Cell = dict[str, Any]


def cells(policy: str, quick: bool) -> Iterator[tuple[Arm, str, float, str]]:
    """(arm, graph, share of observed goals, task) of everything there is to run."""
    if policy == LM:
        for share in (0.03, 0.1):
            for name, graph in LM_ARMS:
                yield BY_NAME[name], graph, share, "trap"
        return
    for task in ["trap"] if quick else TASKS:
        for share in (0.03,) if quick else SHARES:
            for arm in ARMS:
                wide = task.endswith("-36")
                if (quick and arm.name not in QUICK) or (wide and arm.name not in WIDE):
                    continue
                for graph in arm.graphs:
                    if (
                        (quick and graph != "right" and arm.name != "prior_gnn")
                        or (quick and graph in ("ungated", "wrong"))
                        or (wide and graph not in ("right", "wrong"))
                    ):
                        continue
                    yield arm, graph, share, task


LM_ARMS = (
    ("goal_only", "right"), ("flat", "right"), ("diffusion", "right"), ("gated_fixed", "right"), ("gated_fixed", "wrong"),
    ("gated_fixed", "shuffled"), ("ridge", "right"), ("gnn", "right"), ("prior_gnn", "right"), ("prior_gnn", "wrong"),
    ("prior_gnn", "shuffled"),
)  # fmt: skip


def seeds_of(policy: str, quick: bool, number: int | None) -> list[int]:
    return list(range(number or (4 if quick else 3 if policy == LM else 16)))


def run_cell(arm: Arm, graph: str, share: float, task: PlantedTask, seeds: list[int], policy: str) -> Cell:
    share_run = min(1.0, 2 * share) if arm.extra_goals else share
    began = time.perf_counter()
    final: list[float] = []
    extra: dict[str, Any] = {}
    # A shuffled graph is another one for every few seeds.
    draws = draws_of(policy, seeds)
    groups = [seeds[k::draws] for k in range(draws)] if graph == "shuffled" else [seeds]
    of_seed: dict[int, float] = {}
    for k, group in enumerate(groups):
        if not group:
            continue
        name = f"shuffled{k}" if graph == "shuffled" else graph
        if policy == TABULAR:
            result = run(task, name, arm.config(), share_run, group)
            values = result.final.tolist()
            extra = {
                **learned(result.extra),
                "reward": [round(r, 4) for r in result.reward[::10]],
                "goal": [round(float(g), 4) for g in result.curve.mean(0)],
            }
        else:
            from language_model import run_lm

            values = [run_lm(task, name, arm.config(), share_run, seed) for seed in group]
        of_seed |= dict(zip(group, values, strict=True))
    final = [of_seed[seed] for seed in seeds]
    return with_interval({
        "arm": arm.name, "graph": graph, "p": share, "task": task.name, "policy": policy, "seeds": seeds, "mean": None, "interval": None,
        "final": [round(value, 4) for value in final], "seconds": round(time.perf_counter() - began, 1), **extra,
    })  # fmt: skip


def with_interval(cell: Cell) -> Cell:
    """The cell with the mean and the interval of its true goals."""
    found = interval_of(cell)
    bounds = [None if math.isnan(bound) else round(bound, 4) for bound in (found.low, found.high)]
    return {**cell, "mean": round(found.mean, 4), "interval": bounds}


def learned(extra: dict[str, Any]) -> dict[str, Any]:
    """Mean strengths, and the gates that the prior found, by the names of their ends."""
    graph, state = extra["graph"], extra["state"]
    strength = state["strength"].mean(0).tolist()
    found: dict[str, Any] = {
        "strengths": {
            f"{e.source}>{e.target}:{e.relation}": round(g, 3) for e, g in zip(graph.spec.edges, strength, strict=True)
        }
    }
    gamma = state.get("imputer.base.gamma")
    if gamma is not None:
        pairs = [*extra["gates"]]
        found["gates"] = {
            f"{graph.nodes[j]}>{graph.nodes[i]}": round(g, 3)
            for (j, i), g in zip(pairs, gamma.mean(0).tolist(), strict=True)
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="main arms, trap, p=.03, 4 seeds; under a minute")
    parser.add_argument("--policy", choices=(TABULAR, LM), default=TABULAR)
    parser.add_argument(
        "--seeds", type=int, help="number of seeds, from 0 (default: 16; 4 with --quick, 3 with --policy lm)"
    )
    parser.add_argument(
        "--out", type=Path, help="default results.json beside this file; results-quick.json with --quick"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="ARM", help="only these arms")
    parser.add_argument("--tasks", nargs="*", default=[], choices=list(TASKS), help="only these tasks")
    parser.add_argument("--judge", action="store_true", help="run nothing, read the results again")
    options = parser.parse_args()
    out = options.out or HERE / ("results-quick.json" if options.quick else "results.json")
    torch.set_num_threads(1)
    console = Console()
    results: list[Cell] = json.loads(out.read_text()) if out.is_file() and not options.quick else []
    seeds = seeds_of(options.policy, options.quick, options.seeds)
    known = {key(cell) for cell in results if cell["seeds"] == seeds}
    todo = [
        (arm, graph, share, task)
        for arm, graph, share, task in cells(options.policy, options.quick)
        if (arm.name, graph, share, task, options.policy) not in known
        and (not options.only or arm.name in options.only)
        and (not options.tasks or task in options.tasks)
    ]
    if options.judge:
        todo, results = [], list(map(with_interval, results))
    columns = TextColumn("{task.description:<52}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        job = bar.add_task("", total=len(todo))
        for arm, graph, share, task in todo:
            bar.update(job, description=f"{options.policy} {task} p={share} {arm.name} on {graph}")
            cell = run_cell(arm, graph, share, TASKS[task], seeds, options.policy)
            results = [other for other in results if key(other) != key(cell)] + [cell]
            if not options.quick:  # what is done stays done when this is stopped
                write_atomically(out, dump(results))
            bar.advance(job)
    if options.quick or options.judge:
        write_atomically(out, dump(results))
    print_table(console, results)
    for verdict in verdicts(results):
        console.print(str(verdict), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written: {out}", highlight=False, soft_wrap=True)


def key(cell: Cell) -> tuple[Any, ...]:
    return cell["arm"], cell["graph"], cell["p"], cell["task"], cell["policy"]


def dump(results: list[Cell]) -> str:
    """One cell a line, so that a diff shows what changed."""
    return "[\n" + ",\n".join(json.dumps(cell) for cell in results) + "\n]\n"


if __name__ == "__main__":
    main()
