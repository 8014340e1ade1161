"""Seconds per update of the quickstart, alone and beside one busy process, with threads that wait actively and passively.

    python benchmarks/busy.py                                    # 3 interleaved repetitions of 8 arms: about 10 minutes
    python benchmarks/busy.py --repetitions 1 --updates 3 --limit 60

Between two parallel loops a thread of OpenMP waits. By default it spins for some milliseconds; with OMP_WAIT_POLICY=PASSIVE it sleeps at
once. When another process needs the processor, a thread that spins takes time from the thread that all others wait for.

Every measurement is a process of its own: the quickstart without its warm-up, a few updates of PPO, and the median of their seconds
without the first. The run is started from Python, because `rag-graph` sets the passive policy itself. An arm that does not finish within
`--limit` seconds counts the updates that it made. Run it on a machine that does nothing else. Writes `busy.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
POLICIES = ("default", "passive")
RUN = """
import sys
from rag_graph import train
from rag_graph.runs.progress import StageProgress
train(sys.argv[1], sys.argv[2:], progress=StageProgress(quiet=True))
"""


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """While this is open, so many processes of one thread compute without a pause."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def measure(policy: str, threads: int, updates: int, limit_s: float) -> float:
    """Seconds per update: the median without the first."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_NUM_THREADS": str(threads)} | ({"OMP_WAIT_POLICY": "PASSIVE"} if policy == "passive" else {})
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output_dir": f"{folder}/run", "sft.steps": 0, "ppo.updates": updates, "ppo.checkpoint_every": 0, "data.test": 20,
            "evaluation.without_retrieval": "false", "device": "cpu",
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-c", RUN, str(ROOT / "experiments/quickstart/config.yaml")]
        command += [f"{key}={value}" for key, value in settings.items()]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit_s)
            if done.returncode:
                raise SystemExit(f"{policy}, {threads} threads: {done.stderr[-2000:]}")
        metrics = Path(folder, "run", "metrics.jsonl")
        lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    seconds = [json.loads(line)["seconds/update"] for line in lines]
    if len(seconds) < 2:
        raise SystemExit(f"{policy}, {threads} threads: no second update within {limit_s:.0f} s. Raise --limit.")
    return statistics.median(seconds[1:])


def table(rows: list[dict[str, Any]]) -> str:
    """Ratios are medians over repetitions of ratios within a repetition."""
    seconds = {(row["repetition"], row["busy"], row["threads"], row["policy"]): row["seconds"] for row in rows}
    repetitions = sorted({row["repetition"] for row in rows})
    lines = [
        "| threads | policy | alone: s / update | beside one: s / update | beside one / alone | alone, passive / default | beside one, passive / default |",
        "|---|---|---|---|---|---|---|",
    ]

    def ratio(first: tuple[Any, ...], second: tuple[Any, ...]) -> str:
        return f"{statistics.median(seconds[r, *first] / seconds[r, *second] for r in repetitions):.2f}"

    for threads, policy in product(sorted({row["threads"] for row in rows}), POLICIES):
        cells = [str(threads), policy]
        for busy in (0, 1):
            cells.append(f"{statistics.median(seconds[r, busy, threads, policy] for r in repetitions):.2f}")
        cells.append(ratio((1, threads, policy), (0, threads, policy)))
        for busy in (0, 1):
            cells.append("" if policy == "default" else ratio((busy, threads, "passive"), (busy, threads, "default")))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--limit", type=float, default=180, help="seconds for one measurement")
    parser.add_argument("--out", type=Path, default=Path("busy.json"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for repetition in range(options.repetitions):
        for busy, threads, policy in product((0, 1), options.threads, POLICIES):
            with busy_processes(busy):
                seconds = measure(policy, threads, options.updates, options.limit)
            rows.append(
                {"repetition": repetition, "busy": busy, "threads": threads, "policy": policy, "seconds": seconds}
            )
            print(
                f"{repetition + 1}/{options.repetitions} busy {busy}, threads {threads}, {policy}: {seconds:.2f} s / update",
                file=sys.stderr,
            )
            record = {
                "processors": os.cpu_count(),
                "load_before": os.getloadavg(),
                "command": sys.argv[1:],
                "rows": rows,
            }
            options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
