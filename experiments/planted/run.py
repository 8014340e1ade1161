"""The planted experiment: does a graph of goals help where most goal scores are missing?

    python experiments/planted/run.py                 all arms, 16 seeds, tabular policy, hours on one core -> results.json; see --jobs
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
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from arms import ARMS, BY_NAME, Arm  # noqa: E402
from judge import LM, draws_of, interval_of, print_table, verdicts  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from tabular import run  # noqa: E402
from task import PlantedTask  # noqa: E402

from rag_graph.runtime import write_atomically  # noqa: E402

TASKS = {task.name: task for task in (PlantedTask(trap=True), PlantedTask(), PlantedTask(trap=True, wide=True))}
ORDER = (("trap", 0.03), ("plain", 0.03), ("trap", 0.1), ("trap", 0.3), ("trap-36", 0.03), ("plain", 0.1), ("plain", 0.3), ("trap-36", 0.1))  # fmt: skip
QUICK = (("goal_only", "right"), ("flat", "right"), ("gated_fixed", "right"), ("ridge", "right"), ("em_product", "right"),
         ("expected_goal", "right"), ("expected_goal", "shuffled"), ("expected_goal", "none"))  # fmt: skip
LM_ARMS = (
    ("goal_only", "right"), ("flat", "right"), ("diffusion", "right"), ("gated_fixed", "right"), ("gated_fixed", "wrong"),
    ("gated_fixed", "shuffled"), ("ridge", "right"), ("em_product", "right"), ("expected_goal", "right"), ("expected_goal", "wrong"),
    ("expected_goal", "shuffled"),
)  # fmt: skip
TABULAR = "tabular"
Cell = dict[str, Any]
Todo = tuple[Arm, str, float, str]


def cells(policy: str, quick: bool) -> Iterator[Todo]:
    """(arm, graph, share of observed goals, task) of everything there is to run, what matters most first."""
    if policy == LM or quick:
        for share in (0.03,) if quick else (0.03, 0.1):
            for name, graph in QUICK if quick else LM_ARMS:
                yield BY_NAME[name], graph, share, "trap"
        return
    for task, share in ORDER:
        for arm in reversed(ARMS):
            if arm.learn == "none" or task == "trap":
                for graph in arm.graphs:
                    if task == "trap" or graph in ("right", "wrong", "none"):
                        yield arm, graph, share, task


def seeds_of(policy: str, quick: bool, number: int | None) -> list[int]:
    return list(range(number or (4 if quick else 3 if policy == LM else 16)))


def groups_of(todo: Todo, seeds: list[int], policy: str) -> list[tuple[Todo, int, list[int], str]]:
    """What is run at once: the seeds of a cell in as many groups as there are shuffled graphs, the same groups for every arm."""
    draws = draws_of(policy, seeds)
    return [(todo, k, seeds[k::draws], policy) for k in range(draws) if seeds[k::draws]]


def run_group(todo: Todo, k: int, seeds: list[int], policy: str) -> dict[str, Any]:
    """True goals of one group of seeds, how long it took, and what was seen on the way. k: the draw of a shuffled graph."""
    torch.set_num_threads(1)
    arm, graph, share, task_name = todo
    task, name = TASKS[task_name], f"shuffled{k}" if graph == "shuffled" else graph
    share *= 1 + arm.extra_goals
    began = time.perf_counter()
    found: dict[str, Any] = {}
    if policy == TABULAR:
        result = run(task, name, arm.config(), share, seeds)
        values = result.final.tolist()
        found = {"curves": {"reward": result.reward[::10], "goal": result.curve.mean(0).tolist()}}
        if graph != "shuffled":
            found |= learned(result.extra, arm.learn != "none")
    else:
        from language_model import run_lm

        values = [run_lm(task, name, arm.config(), share, seed) for seed in seeds]
    return {"finals": dict(zip(seeds, values, strict=True)), "seconds": time.perf_counter() - began, "found": found}


def joined(todo: Todo, seeds: list[int], policy: str, parts: list[dict[str, Any]]) -> Cell:
    """One cell from its groups."""
    arm, graph, share, task = todo
    finals = {seed: value for part in parts for seed, value in part["finals"].items()}
    found = [part["found"] for part in parts]
    curves = {
        name: [round(float(value), 4) for value in np.mean([one["curves"][name] for one in found], 0)]
        for name in found[0].get("curves", {})
    }
    means = {
        what: {name: round(float(np.mean([one[what][name] for one in found])), 3) for name in found[0][what]}
        for what in ("strengths", "gates")
        if what in found[0]
    }
    return with_interval({
        "arm": arm.name, "graph": graph, "p": share, "task": task, "policy": policy, "seeds": seeds, "mean": None, "interval": None,
        "final": [round(finals[seed], 4) for seed in seeds], "seconds": round(sum(part["seconds"] for part in parts), 1), **means, **curves,
    })  # fmt: skip


def with_interval(cell: Cell) -> Cell:
    """The cell with the mean and the interval of its true goals."""
    found = interval_of(cell)
    bounds = [None if math.isnan(bound) else round(bound, 4) for bound in (found.low, found.high)]
    return {**cell, "mean": round(found.mean, 4), "interval": bounds}


def learned(extra: dict[str, Any], moved: bool) -> dict[str, Any]:
    """Mean strengths where they moved, and the gates that a prior found, by the names of their ends."""
    graph, state = extra["graph"], extra["state"]
    found: dict[str, Any] = {}
    if moved:
        strength = state["strength"].mean(0).tolist()
        found["strengths"] = {
            f"{e.source}>{e.target}:{e.relation}": g for e, g in zip(graph.spec.edges, strength, strict=True)
        }
    gamma = state.get("imputer.base.gamma")
    if gamma is not None:
        gates = zip(extra["gates"], gamma.mean(0).tolist(), strict=True)
        found["gates"] = {f"{graph.nodes[j]}>{graph.nodes[i]}": g for (j, i), g in gates}
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
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side, one thread each (default: 1)")
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
    work = [group for one in todo for group in groups_of(one, seeds, options.policy)]
    columns = TextColumn("{task.description:<52}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    waiting: dict[Any, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(options.jobs))
        # Submitted first: a fork beside the threads of the bar could hang.
        running = {pool.submit(run_group, *group): group for group in work}
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        job = bar.add_task("", total=len(work))
        for done in as_completed(running):
            one = running[done][0]
            arm, graph, share, task = one
            bar.update(job, advance=1, description=f"{options.policy} {task} p={share} {arm.name} on {graph}")
            parts = waiting.setdefault((arm.name, graph, share, task), [])
            parts.append(done.result())
            if len(parts) == len(groups_of(one, seeds, options.policy)):
                cell = joined(one, seeds, options.policy, parts)
                results = [other for other in results if key(other) != key(cell)] + [cell]
                if not options.quick:  # what is done stays done when this is stopped
                    write_atomically(out, dump(results))
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
