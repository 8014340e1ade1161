"""Real text, a real model: is the graph worth something against simple rewards and supervised training?

    python experiments/text/run.py --task labels --runs FOLDER          all arms, seeds 5 to 9; cell by cell, goes on where it was stopped
    python experiments/text/run.py --task labels --judge                run nothing; the table from results.json
    python experiments/text/run.py --task labels --runs FOLDER --part tune --seeds 100 101 --arms flat --set ppo.updates=4

A cell is an arm with one seed; FOLDER/TASK/PART/ARM-seedSEED.json is written when it is done. Several of these commands, with other seeds, may run at once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from rich.console import Console  # noqa: E402
from settings import ARMS, DEMONSTRATIONS, KL_TARGET, ONE_TOKEN, TASKS, config_of  # noqa: E402
from table import show  # noqa: E402

from rag_graph.runtime import write_atomically, write_json  # noqa: E402

RESULTS = HERE / "results.json"
Train = Callable[[str, int], dict[str, Any]]
"""Arm, seed -> what came out."""


def run_cells(options: argparse.Namespace, console: Console) -> None:
    """Seed by seed, so that what is done is paired."""
    place = options.runs / options.task / options.part
    waiting = [
        (seed, arm)
        for seed in options.seeds
        for arm in options.arms
        if not (place / f"{arm}-seed{seed}.json").is_file()
    ]
    if not waiting:
        return
    train = one_token_cell(options, place) if options.task in ONE_TOKEN else whole_cell(options, place)
    for seed, arm in waiting:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cell = {"task": options.task, "part": options.part, "arm": arm, "seed": seed, **train(arm, seed)}
        write_json(place / f"{arm}-seed{seed}.json", cell)
        told = f"{cell['before']:.3f} -> {cell['score']:.3f}, KL {cell['kl']}, {cell['seconds']:.0f} s"
        console.print(f"{options.task} {arm} seed {seed}: {told}", highlight=False, soft_wrap=True)


def one_token_cell(options: argparse.Namespace, place: Path) -> Train:
    from one_token import Cells

    config = config_of(options.task, 0, options.part, options.set)
    cells = Cells(config, place, DEMONSTRATIONS[options.task], options.kl or KL_TARGET[options.task])
    return lambda arm, seed: {**cells.train(arm, seed), "settings": config.fingerprint()}


def whole_cell(options: argparse.Namespace, place: Path) -> Train:
    from cells import train_cell, warmed

    def train(arm: str, seed: int) -> dict[str, Any]:
        warm = place / f"warm-seed{seed}"
        before = warmed(options.task, seed, options.part, warm, options.set)
        shutil.rmtree(work := place / f"{arm}-seed{seed}", ignore_errors=True)
        start = {"before": before["score"], "greedy_before": before["greedy"]}
        return {**start, **train_cell(options.task, arm, seed, options.part, warm, work, options.set)}

    return train


def cells_in(place: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(place.glob("*-seed*.json"))]


def kept(cells: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stored cells, with the new ones in the place of the same."""
    found = {(cell["task"], cell["arm"], cell["seed"]): cell for cell in [*cells, *new]}
    return [found[key] for key in sorted(found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default=TASKS[0])
    parser.add_argument("--runs", type=Path, help="folder of the cells")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5, 10)))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--part", choices=("dev", "tune"), default="dev", help="tune: a part of train is held out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of all arms")
    parser.add_argument("--kl", type=float, help="nats per answer, in place of what settings.py says")
    parser.add_argument("--judge", action="store_true", help="run nothing; the table again")
    options = parser.parse_args()
    if options.runs is None and not options.judge:
        parser.error("--runs: name a folder for the cells, or give --judge")
    console = Console(width=180)
    if not options.judge:
        run_cells(options, console)
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() and options.part == "dev" else []
    if options.runs is not None:
        stored = kept(stored, cells_in(options.runs / options.task / options.part))
        if options.part == "dev":
            write_atomically(RESULTS, "[\n" + ",\n".join(map(json.dumps, stored)) + "\n]\n")
    show(console, options.task, [cell for cell in stored if cell["task"] == options.task])


if __name__ == "__main__":
    main()
