"""A fit to logged answers as one HTML file that needs no network, and as JSON beside it."""

from __future__ import annotations

import base64
import time
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from rag_graph.errors import TrainingError
from rag_graph.evaluation.statistics import Interval
from rag_graph.report.fit_figures import as_svg, draw_calibration, draw_curve, draw_weights
from rag_graph.reward.offline.fit_report import FitReport
from rag_graph.reward.offline.judge_check import JudgeCheck
from rag_graph.runtime import write_atomically, write_json
from rag_graph.version import __version__

SECTIONS = (("data", "What was fitted"), ("readouts", "Readouts"), ("graph", "The graph"), ("judges", "Judges"), ("weights", "Weights"), ("next", "Start a run"))  # fmt: skip
KINDS = {
    "flip": "wrong sign", "relation": "missing", "gate": "missing bound", "contained": "counted twice",
    "idle": "does nothing", "closed": "nearly always closed", "unseen": "not observed", "broken": "too strong",
}  # fmt: skip
"""Kinds of findings in words."""


def write_fit_report(report: FitReport, folder: str | Path) -> Path:
    """Write `fit.html` and `fit.json` into a folder; returns the path of the page.

    Raises:
        TrainingError: the folder cannot be written.
    """
    where = Path(folder)
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{where}: cannot be made: {error.strerror or error}. Choose another folder.") from None
    write_json(where / "fit.json", report.as_dict())
    assets = resources.files("rag_graph.report") / "assets"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string((assets / "fit.html.j2").read_text(encoding="utf-8")).render(
        css=(assets / "report.css").read_text(encoding="utf-8"),
        fit=report,
        folder=str(where),
        version=__version__,
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
        **_texts(report),
    )
    write_atomically(where / "fit.html", page)
    return where / "fit.html"


def fit_rows(report: FitReport) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of the table of readouts; columns that say nothing are left out."""
    columns = {
        "readout": [score.readout for score in report.scores],
        "rank correlation": [_shown(score.spearman) for score in report.scores],
        "against the simplest": [_shown(score.from_simplest, sign=True) for score in report.scores],
        "of the predicted goal": [_shown(score.predicted) for score in report.scores],
        "pairs": [_shown(score.pairs) for score in report.scores],
        "preferences": [_shown(score.preferred) for score in report.scores],
        "80% intervals cover": [_shown(score.covered) for score in report.scores],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def _texts(report: FitReport) -> dict[str, Any]:
    header, rows = fit_rows(report)
    pictures = []
    if report.curve:
        pictures.append(("Learning curve", "rank correlation over the number of goals that a fit saw", draw_curve(report)))  # fmt: skip
    if report.calibration:
        about = f"goals against the predictions of {report.readout}; on the line they agree"
        pictures.append(("Calibration", about, draw_calibration(report)))
    if report.weights:
        pictures.append(("Weights", "grey: on noise", draw_weights(report)))
    return {
        "sections": [section for section in SECTIONS if report.judges or section[0] != "judges"],
        "judges": [_of_judge(check) for check in report.judges],
        "kinds": KINDS,
        "verdict": plain(report.verdict),
        "about": about_fit(report),
        "how": f"{report.folds} times, the goals of a part of the groups are hidden, and nothing else of them; each readout is fitted to the rest and orders "
        "the rows whose goal it did not see. Pairs: share of pairs of answers that are ordered as their goals are.",
        "columns": header,
        "rows": [
            {"cells": row, "own": score.readout == report.readout}
            for row, score in zip(rows, report.scores, strict=True)
        ],
        "pictures": [
            (title, about, base64.b64encode(as_svg(figure).encode()).decode()) for title, about, figure in pictures
        ],
        "findings": [*report.gates, *report.proposals],
        "against": any(one.against for one in report.weights),
        "noisy": any(one.on_noise for one in report.weights),
    }


def _of_judge(check: JudgeCheck) -> dict[str, Any]:
    numbers = {
        f"weighted kappa on {check.marks} marks": _shown(check.kappa),
        "rank correlation": _shown(check.spearman),
        "bias: judge less human": _shown(check.bias, sign=True),
        "bias by a doubling of the length": _shown(check.doubling, sign=True),
        "rank correlation of the bias with the length": _shown(check.length, sign=True),
    }
    places = [
        [one.position, f"{one.rows:,}", _shown(one.bias, sign=True), _shown(one.apart, sign=True)]
        for one in check.positions
    ]
    return {
        "node": check.node,
        "said": check.said,
        "numbers": {name: cell or "not known" for name, cell in numbers.items()},
        "places": places,
    }


def about_fit(report: FitReport) -> str:
    """A line on what was fitted."""
    pairs = f", {report.pairs:,} preference pairs" if report.pairs else ""
    groups = "each row by itself" if report.grouped_by == "row" else f"grouped by `{report.grouped_by}`"
    used = f"; the fit uses {report.used:,} of them" if report.used < report.rows else ""
    return plain(
        f"{report.rows:,} answers with {sum(report.goals.values()):,} observed goals{pairs}, in {report.groups:,} groups ({groups}){used}. "
        f"Readout: `{report.readout}`."
    )


def plain(text: str) -> str:
    """Without the marks of code."""
    return text.replace("`", "")


def _shown(value: Interval | None, sign: bool = False) -> str:
    if value is None or value.mean != value.mean:
        return ""
    mean = f"{value.mean:+.3f}" if sign else f"{value.mean:.3f}"
    if value.low != value.low:
        return f"{mean} [not known]"
    return f"{mean} [{value.low:+.3f}, {value.high:+.3f}]" if sign else f"{mean} [{value.low:.3f}, {value.high:.3f}]"
