"""What follows a run: its figures and its report, in its folder."""

from __future__ import annotations

from pathlib import Path

from rag_graph.report.diagnostics import draw_diagnostics
from rag_graph.report.figures import draw_curves
from rag_graph.report.html import write_report
from rag_graph.runs.folder import FIGURES
from rag_graph.runs.run import Run


def present_run(run: Run) -> tuple[Path, ...]:
    """Write `curves.png`, `diagnostics.png` and `report.html` into the folder of a run, as `rag-graph train` does when it ends.

    Returns:
        The paths of the three files.

    What is damaged is left out, and the report says so.

    Raises:
        DataError: no run folder.
        TrainingError: a file cannot be written.
    """
    run = Run(run.path, skip_damaged=True)
    curves, diagnostics, report = (run.path / name for name in FIGURES)
    draw_curves(run, curves)
    draw_diagnostics(run, diagnostics)
    return curves, diagnostics, write_report(run, report)
