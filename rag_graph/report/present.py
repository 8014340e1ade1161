"""What follows a run: its figures and its report, in its folder."""

from __future__ import annotations

from pathlib import Path

from rag_graph.report.diagnostics import draw_diagnostics
from rag_graph.report.figures import draw_curves
from rag_graph.report.html import write_report
from rag_graph.runs.run import Run


def present_run(run: Run) -> tuple[Path, ...]:
    """Write `curves.png`, `diagnostics.png` and `report.html` into the folder of a run, as `rag-graph train` does when it ends.

    Returns:
        The paths of the three files.

    Raises:
        DataError: a damaged run folder.
        TrainingError: a file cannot be written.
    """
    curves, diagnostics = run.path / "curves.png", run.path / "diagnostics.png"
    draw_curves(run, curves)
    draw_diagnostics(run, diagnostics)
    return curves, diagnostics, write_report(run)
