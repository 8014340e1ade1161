"""Does the quickstart convince on every seed, thread count and code path of the processor? What do simpler rewards reach?

    python experiments/quickstart/run.py                     # all cases; a case that has finished is not run again
    python experiments/quickstart/run.py --cases "1 thread"  # some of them
    python experiments/quickstart/run.py --show              # run nothing; the table again from results.json

Cases, each over seeds 0 to 4:

    1 thread, 2 threads    the graph's reward
    default kernels        one thread, torch without the processor's vector instructions (ATEN_CPU_CAPABILITY=default)
    flat, goal_only        one thread, a simpler reward

The supervised warm-up of a seed is done once for the cases with one thread: they start from the same policy. Another share of goals, say a tenth: --set reward.goal_observed=0.1, with another --folder and --out. The minutes of these cases leave it out. A run is interrupted by Ctrl-C and goes on from its last checkpoint with the same command.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
GAIN, RETRIEVAL = 0.10, 0.05
"""What each run of the graph's reward must gain at least, and what retrieval must be worth."""


class Case(NamedTuple):
    """How a run is started: threads of torch, settings beside the config's, variables of the environment, and whether it starts from the seed's shared warm-up."""

    threads: int
    settings: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    warm: bool = False


CASES = {
    "1 thread": Case(1, warm=True),
    "2 threads": Case(2),
    "default kernels": Case(1, environment=(("ATEN_CPU_CAPABILITY", "default"),)),
    "flat": Case(1, ("reward.readout=flat",), warm=True),
    "goal_only": Case(1, ("reward.readout=goal_only",), warm=True),
}
BASELINES = ("flat", "goal_only")


WARM_UP_ONLY = ("ppo.updates=1", "ppo.learning_rate=1.0e-12", "evaluation.without_retrieval=false")
"""One update that moves nothing: the policy that is kept is that of the warm-up."""


def trained(place: Path, seed: int, case: Case, settings: Sequence[str]) -> None:
    """Train, or go on, in a process of its own; nothing where the run has finished."""
    if (place / "results.json").is_file():
        return
    command = [sys.executable, "-m", "rag_graph", "train"]
    if (place / "config.yaml").is_file():
        command += ["--resume", str(place)]
    else:
        command.append(str(HERE / "config.yaml"))
        for setting in (f"seed={seed}", f"output_dir={place}", *settings):
            command += ["--set", setting]
    variables = {"OMP_NUM_THREADS": str(case.threads), **dict(case.environment)}
    subprocess.run(command, env={**os.environ, **variables}, check=True)


def one_run(name: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train, or go on; read what came out."""
    case = CASES[name]
    place = folder / f"{name.replace(' ', '-')}-seed{seed}"
    settings = [*case.settings, *overrides]
    if case.warm and not (place / "results.json").is_file():
        warm = folder / f"warm-seed{seed}"
        trained(warm, seed, Case(1), [*overrides, *WARM_UP_ONLY])
        settings += [f"model.source={(warm / 'policy').resolve()}", "sft.steps=0"]
    trained(place, seed, case, settings)
    found = json.loads((place / "results.json").read_text(encoding="utf-8"))
    return {
        "case": name,
        "seed": seed,
        "before": found["before"]["task_scores"],
        "after": found["after"]["task_scores"],
        "gain": found["gain"],
        "retrieval": -found["without_retrieval"]["loss"]["mean"],
        "seconds": found["seconds"],
    }


def convinces(row: dict[str, Any]) -> bool:
    """The mean rises enough, no task falls, and retrieval is worth something."""
    falls = [task for task, score in row["before"].items() if row["after"][task] < score]
    return row["gain"]["mean"] >= GAIN and not falls and row["retrieval"] >= RETRIEVAL


def show(rows: list[dict[str, Any]]) -> None:
    """One line per run; at the end what the graph gains over the baselines, paired by seed."""
    from rag_graph.evaluation.statistics import run_interval

    tasks = list(rows[0]["before"])
    print(f"| case | seed | {' | '.join(tasks)} | mean | gain | retrieval | minutes | convinces |")
    print("|" + "---|" * (len(tasks) + 7))
    for row in sorted(rows, key=lambda row: (list(CASES).index(row["case"]), row["seed"])):
        cells = [f"{row['before'][task]:.3f} -> {row['after'][task]:.3f}" for task in tasks]
        mean = [sum(row[part].values()) / len(tasks) for part in ("before", "after")]
        verdict = "" if row["case"] in BASELINES else "yes" if convinces(row) else "no"
        cells += [f"{mean[0]:.3f} -> {mean[1]:.3f}", f"{row['gain']['mean']:+.3f}", f"{row['retrieval']:.3f}"]
        cells += [f"{sum(row['seconds'].values()) / 60:.1f}", verdict]
        print(f"| {row['case']} | {row['seed']} | {' | '.join(cells)} |")
    gains = {name: {row["seed"]: row["gain"]["mean"] for row in rows if row["case"] == name} for name in CASES}
    for name in BASELINES:
        pairs = [[gains["1 thread"][seed] - gains[name][seed]] for seed in gains["1 thread"].keys() & gains[name]]
        if len(pairs) > 1:
            print(f"gain of the graph less that of {name}, {len(pairs)} seeds: {run_interval(pairs)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--folder", type=Path, default=Path("runs/quickstart"), help="where the run folders go")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of all runs")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--show", action="store_true", help="run nothing, read the results again")
    arguments = parser.parse_args()
    rows = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else []
    if not arguments.show:
        for name in arguments.cases:
            for seed in arguments.seeds:
                row = one_run(name, seed, arguments.folder, arguments.set)
                if arguments.out.is_file():  # another process may have written since
                    rows = json.loads(arguments.out.read_text(encoding="utf-8"))
                rows = [old for old in rows if (old["case"], old["seed"]) != (name, seed)] + [row]
                arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
