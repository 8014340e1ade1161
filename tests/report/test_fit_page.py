"""The page of a fit needs no network, escapes what it shows, and says what the rows cannot."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rag_graph.errors import TrainingError
from rag_graph.evaluation.statistics import Interval
from rag_graph.report.fit_page import about_fit, fit_rows, write_fit_report
from rag_graph.reward.offline.findings import Finding, Weight
from rag_graph.reward.offline.fit_report import FitReport
from rag_graph.reward.offline.judge_check import JudgeCheck, PositionBias


def test_the_page_holds_everything(fit_report: FitReport, tmp_path: Path) -> None:
    page = write_fit_report(fit_report, tmp_path / "a" / "fit")
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "a" / "fit" / "fit.html"
    assert text.count("data:image/svg+xml;base64,") == 3
    assert not re.search(r"""(src|href)=["']?https?:""", text)
    assert "<script" not in text
    for said in (
        "f.yaml:7",
        "does nothing",
        "noise &lt;b&gt;",
        "on noise",
        f"start_from: {tmp_path / 'a' / 'fit'}",
        "+0.100 [+0.020, +0.180]",
        "a learning curve: too few",
    ):
        assert said in text, said
    assert json.loads((page.parent / "fit.json").read_text())["best"] == "ridge"


def test_a_fit_that_held_nothing_out_has_a_page(fit_report: FitReport, tmp_path: Path) -> None:
    bare = replace(
        fit_report, scores=(), curve=(), calibration=(), weights=(), gates=(), verdict="nothing was held out"
    )
    text = write_fit_report(bare, tmp_path).read_text(encoding="utf-8")
    assert "Nothing was held out, so no readout was judged." in text
    assert "Nothing was found, as far as these rows can say." in text
    assert "data:image/svg" not in text


def test_the_table_leaves_out_columns_that_say_nothing(fit_report: FitReport) -> None:
    header, rows = fit_rows(fit_report)
    assert header == ["readout", "rank correlation", "against the simplest", "pairs", "80% intervals cover"]
    assert rows[0] == ["flat", "0.600 [0.500, 0.700]", "", "0.700 [0.600, 0.800]", ""]
    unknown = replace(fit_report.scores[0], spearman=Interval(0.6, float("nan"), float("nan")))
    assert fit_rows(replace(fit_report, scores=(unknown,)))[1][0][1] == "0.600 [not known]"


def test_a_line_says_what_was_fitted(fit_report: FitReport) -> None:
    assert (
        about_fit(fit_report)
        == "4,000 answers with 40 observed goals, in 20 groups (grouped by prompt); the fit uses 2,048 of them. Readout: ridge."
    )
    assert "each row by itself" in about_fit(replace(fit_report, grouped_by="row"))
    assert ", 12 preference pairs" in about_fit(replace(fit_report, pairs=12))


def test_a_folder_that_cannot_be_made_is_told(fit_report: FitReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file/x: cannot be made"):
        write_fit_report(fit_report, tmp_path / "file" / "x")


def test_findings_and_weights_are_records() -> None:
    assert Finding("idle", "a", "b", "bounds", "text").place == ""
    assert Weight("t", "n", Interval(0, 0, 0), True, False, "").place == ""


def test_judges_stand_beside_people(fit_report: FitReport, tmp_path: Path) -> None:
    near, unknown = Interval(0.4, 0.3, 0.5), Interval(0.1, float("nan"), float("nan"))
    places = (PositionBias("first <b>", 12, near, unknown), PositionBias("2", 8, unknown, near))
    check = JudgeCheck("helpful", ("goal",), 20, 10, 5, near, near, unknown, None, None, places, ("it agrees <i>",))
    text = write_fit_report(replace(fit_report, judges=(check,)), tmp_path).read_text(encoding="utf-8")
    for said in (
        '<h2 id="h-judges">',
        "<li>it agrees &lt;i&gt;</li>",
        '<td>weighted kappa on 5 marks</td><td class="n">0.400 [0.300, 0.500]</td>',
        '<td>bias: judge less human</td><td class="n">+0.100 [not known]</td>',
        '<td>bias by a doubling of the length</td><td class="n">not known</td>',
        '<td>first &lt;b&gt;</td><td class="n">12</td>',
    ):
        assert said in text, said
    assert json.loads((tmp_path / "fit.json").read_text())["judges"][0]["positions"][1]["apart"]["low"] == 0.3
