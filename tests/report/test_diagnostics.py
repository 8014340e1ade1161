"""The picture of diagnostics: four panels with what the run wrote down."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rag_graph import Run
from rag_graph.report.diagnostics import draw_diagnostics


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, out, **_: kept.append(figure))
    return kept


def test_the_panels_show_the_records(drawn: list[Figure], finished_run: Path, tmp_path: Path) -> None:
    run = Run(finished_run)
    draw_diagnostics(run, tmp_path / "d.png")
    utility, strengths, calibration, _ = drawn[0].axes[:4]
    metrics = run.metrics()
    paid = metrics["reward/utility"].dropna()
    assert list(utility.lines[0].get_xdata()) == list(paid.index)
    assert list(utility.lines[0].get_ydata()) == pytest.approx(paid.tolist())
    names = [name for name in metrics if str(name).startswith("graph/")]
    assert [str(line.get_label()) for line in strengths.lines] == [str(name).removeprefix("graph/") for name in names]
    biases = {name: metrics[name].dropna().iloc[-1] for name in metrics if str(name).endswith("/bias")}
    assert sorted(bar.get_height() for bar in calibration.containers[0]) == pytest.approx(sorted(biases.values()))


def test_an_alarm_is_a_line_with_its_name(
    drawn: list[Figure], finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = {"update": 3, "alarm": "overoptimisation", "seen": ""}
    monkeypatch.setattr(Run, "graph_report", property(lambda run: {"proposals": [], "alarms": [alarm]}))
    monkeypatch.setattr(Run, "records", lambda run: [])
    draw_diagnostics(Run(finished_run), tmp_path / "d.png")
    utility = drawn[0].axes[0]
    assert [list(line.get_xdata()) for line in utility.lines] == [[3, 3]]
    assert [text.get_text() for text in utility.texts] == ["overoptimisation"]
