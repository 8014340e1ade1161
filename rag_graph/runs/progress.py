"""Progress on the terminal: one bar per stage with what matters beside it; plain lines where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rag_graph.display import printable
from rag_graph.terminal import Terminal, styled

LINE_EVERY_S = 10.0


class StageProgress:
    """`with StageProgress() as progress: progress.stage("PPO", 120); progress.advance(reward=.4)`."""

    def __init__(self, console: Terminal | None = None, quiet: bool = False) -> None:
        self.console = console or Terminal(stderr=True)
        self.quiet = quiet
        columns = (
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._bars = Progress(*columns, console=self.console) if self.console.is_terminal and not quiet else None
        self._task: TaskID | None = None
        self._name, self._total, self._done = "", 0, 0
        self._started = self._printed = 0.0

    def __enter__(self) -> StageProgress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps; the one before is left as it stands."""
        self._name, self._total, self._done = name, total, 0
        self._started = self._printed = time.monotonic()
        if self._bars:
            self._task = self._bars.add_task(name, total=total, note="")
        elif not self.quiet:
            self._line(f"{name} ...")

    def advance(self, steps: int = 1, alarms: Sequence[str] = (), **numbers: float) -> None:
        """So many steps are done. Beside the bar stand the alarms that are on, by name, and the numbers."""
        self._done += steps
        told = [f"{name} {value:.3f}" for name, value in numbers.items()]
        note = "  ".join(([f"alarm {', '.join(alarms)}"] if alarms else []) + told)
        if self._bars and self._task is not None:
            self._bars.update(self._task, advance=steps, note=note)
            return
        now = time.monotonic()
        if not self.quiet and (now - self._printed > LINE_EVERY_S or self._done >= self._total):
            self._printed = now
            self._line(f"  {self._name} {self._done}/{self._total}  {now - self._started:.0f} s  {note}")

    def waiting(self, what: str, done: int, total: int) -> None:
        """What a long step waits for, beside its bar; where there is none, a line now and then. Any thread may call it."""
        note = printable(f"{what} {done}/{total}")
        if self._bars and self._task is not None:
            self._bars.update(self._task, note=note)
            return
        now = time.monotonic()
        if not self.quiet and now - self._printed > LINE_EVERY_S:
            self._printed = now
            self._line(f"  {self._name}: {note}")

    def say(self, text: str) -> None:
        if not self.quiet:
            self._line(text)

    def _line(self, text: str) -> None:
        """Whatever console was given: the text as it is."""
        self.console.print(styled(text), soft_wrap=True)
