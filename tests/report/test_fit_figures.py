"""The pictures of a fit show its numbers."""

from __future__ import annotations

from rag_graph.report.fit_figures import as_svg, draw_calibration, draw_curve, draw_weights
from rag_graph.reward.offline.fit_report import FitReport


def test_the_curve_has_a_line_per_readout(fit_report: FitReport) -> None:
    (panel,) = draw_curve(fit_report).axes
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["ridge", "flat"]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["8", "32"]
    heights = [line[0].get_ydata().tolist() for line in panel.containers]
    assert heights == [[0.5, 0.7], [0.6, 0.6]]


def test_calibration_compares_with_the_diagonal(fit_report: FitReport) -> None:
    (panel,) = draw_calibration(fit_report).axes
    assert list(panel.lines[0].get_xdata()) == [0, 1]
    assert panel.containers[0][0].get_ydata().tolist() == [0.25, 0.75]


def test_weights_on_noise_are_grey(fit_report: FitReport) -> None:
    (panel,) = draw_weights(fit_report).axes
    colors = {tuple(line.get_ydata()): line.get_color() for line in panel.lines if len(line.get_xdata()) == 2}
    assert colors[(0, 0)] == "#999999"
    assert colors[(1, 1)] != "#999999"
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["noise <b>", "right"]


def test_a_picture_is_alike_whenever_it_is_drawn(fit_report: FitReport) -> None:
    assert as_svg(draw_weights(fit_report)) == as_svg(draw_weights(fit_report))
    assert "<svg" in as_svg(draw_calibration(fit_report))
