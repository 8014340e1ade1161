"""`rag-graph sweep`."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_graph.terminal import Terminal, styled

if TYPE_CHECKING:
    from rich.table import Table

    from rag_graph.runs.sweep import Sweep

SECONDS_PER_LOOK = 1.0
MOST_LINES = 40


def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep file, as above.", metavar="SWEEP.yaml")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and stop.")] = False,
) -> None:
    """Run a grid of settings times seeds; run it again to go on: what is finished is passed over, what was stopped goes on.

    A run that fails does not stop the rest. Ends with the comparison of the arms (`comparison.md` in the sweep's folder).

    A sweep file:

    `config: config.yaml`

    `grid: {reward.readout: [flat, expected_goal]}`

    `seeds: [0, 1, 2, 3, 4]`

    More keys: `set` (overrides of every run), `folder`, `parallel` (runs at once), `executor: ray` (with `ray_address`, `cpus`, `gpus`).
    """
    from rag_graph.runs.executors import shown_state
    from rag_graph.runs.folder import is_locked
    from rag_graph.runs.sweep import Sweep

    plan, console = Sweep(file), Terminal()
    if dry_run:
        for run in plan.runs:
            console.print(f"{shown_state(run.path):<12}{run.path}")
        console.print(f"{len(plan.runs)} runs, executor {plan.config.executor}")
        return
    done = sum(shown_state(run.path) == "finished" for run in plan.runs)
    others = [run.path for run in plan.runs if is_locked(run.path)]
    console.print(f"{len(plan.runs)} runs in {plan.folder}, {done} finished before")
    if others:
        console.print(f"{len(others)} left to another process that works on them: {', '.join(map(str, others))}")
    signal.signal(signal.SIGTERM, _interrupt)  # a batch system's way to say stop: as Ctrl-C
    try:
        codes = _run(plan, console)
    except KeyboardInterrupt:
        console.print("interrupted. What was written stays; run the same command to go on.")
        raise typer.Exit(1) from None
    failed = [run.path for run in plan.runs if codes.get(run.path)]
    for path in failed:
        console.print(styled(("failed", "red"), f": {path}: {_reason(path)}"))
    finished = [run.path for run in plan.runs if shown_state(run.path) == "finished"]
    if finished:
        _compare(finished, plan.folder / "comparison.md", console)
    if failed:
        raise typer.Exit(1)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _run(plan: Sweep, console: Terminal) -> dict[Path, int]:
    """With a live table on a terminal; elsewhere a line for each run that ends."""
    if not console.is_terminal:
        return plan.run(lambda path, code: console.print(f"{'failed' if code else 'finished'}: {path}"))
    from rich.live import Live

    stop, started = threading.Event(), time.monotonic()
    with Live(_table(plan, 0.0), console=console, refresh_per_second=2) as live:

        def watch() -> None:
            while not stop.wait(SECONDS_PER_LOOK):
                live.update(_table(plan, time.monotonic() - started))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            return plan.run()
        finally:
            stop.set()
            watcher.join()
            live.update(_table(plan, time.monotonic() - started))


def _table(plan: Sweep, seconds: float) -> Table:
    from rich.table import Table

    from rag_graph.runs.executors import shown_state
    from rag_graph.stored_file import last_record

    rows = [(run, shown_state(run.path)) for run in plan.runs]
    done = sum(state == "finished" for _, state in rows)
    table = Table("arm", "seed", "state", "update", "score", "reward", "held-out goal", title=f"{done} of {len(rows)} runs finished, {seconds:.0f} s", title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))  # fmt: skip
    # On a small terminal: what is going on first, then what waits.
    order = {"running": 0, "failed": 1, "stopped": 1, "interrupted": 2, "waiting": 3, "finished": 4}
    shown = rows if len(rows) <= MOST_LINES else sorted(rows, key=lambda row: order.get(row[1], 5))[:MOST_LINES]
    for run, state in shown:
        last = last_record(run.path / "metrics.jsonl")
        at = (
            f"{last.get('update')}/{run.config.ppo.updates}"
            if last.get("stage") == "ppo"
            else str(last.get("stage", ""))
        )
        numbers = (
            f"{last[key]:.3f}" if isinstance(last.get(key), int | float) else ""
            for key in ("score", "objective/scores", "reward/held_out_goal")
        )
        table.add_row(run.arm, str(run.config.seed), state, at, *numbers)
    if len(shown) < len(rows):
        table.caption = f"and {len(rows) - len(shown)} more"
    return table


def _reason(run: Path) -> str:
    """The last error in its log, else the last line."""
    from rag_graph.runs.executors import log_of

    log = log_of(run)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    errors = [line for line in lines if line.startswith("error: ")]
    return f"{(errors or lines or ['no log'])[-1]} (all of it in {log})"


def _compare(finished: list[Path], out: Path, console: Terminal) -> None:
    from rag_graph.cli.report import print_comparison
    from rag_graph.report.compare import compare

    found = compare(finished)
    print_comparison(found, console)
    console.print(f"wrote {found.write(out)}")
