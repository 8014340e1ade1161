"""The progress of a fit on a terminal or in a notebook; silent elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rag_graph.terminal import Terminal


class ShowsProgress(Protocol):
    """What shows the progress of a fit, such as `rag_graph.runs.progress.StageProgress`."""

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        ...


class Bar:
    """A bar for each stage, which goes when the fit is done."""

    def __init__(self, console: Terminal | None = None) -> None:
        self.console = console or Terminal(stderr=True)
        columns = (
            TextColumn("{task.description:<16}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        shown = self.console.is_terminal or self.console.is_jupyter
        self._bars = Progress(*columns, console=self.console, transient=True, disable=not shown)

    def __enter__(self) -> Bar:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        self._task = self._bars.add_task(name, total=total)

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        self._bars.advance(self._task, steps)
