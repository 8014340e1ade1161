"""The table a run ends with."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from rag_graph import Run
from rag_graph.report.summary import summary_tables


def shown(tables: list[Table], width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.export_text()


def number(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def test_the_results_stand_in_it_and_fit_into_80_characters(finished_run: Path) -> None:
    run = Run(finished_run)
    assert run.results is not None
    text = shown(summary_tables(run))
    assert max(map(len, text.splitlines())) <= 80
    assert "Held-out examples, 8 a task, greedy: mean [95% interval]" in text
    assert "Nodes, sampled answers: first 1 -> last 1 updates of PPO" in text
    mean = next(line for line in text.splitlines() if line.startswith("mean task score"))
    for part in ("before", "after"):
        found = run.results[part]["mean_task_score"]
        assert f"{number(found['mean'])} [{number(found['low'])}, {number(found['high'])}]" in mean
    change = next(line for line in text.splitlines() if line.startswith("change, paired"))
    assert f"{'+' if run.results['gain']['mean'] >= 0 else ''}{number(run.results['gain']['mean'])}" in change


def test_nodes_first_and_last(finished_run: Path) -> None:
    run = Run(finished_run)
    scores = run.metrics()["nodes/well_formed/score"].tolist()
    line = next(line for line in shown(summary_tables(run)).splitlines() if line.startswith("well_formed "))
    assert line.split()[1] == "100%"
    assert f"{scores[0]:.3f} -> {scores[-1]:.3f}" in line


ALARM = {
    "update": 7,
    "alarm": "length",
    "seen": "[bold]b[/bold]",
    "advice": "Do this.",
    "examples": [{"id": "1/a/2", "prompt": "p", "response": "[i]x[/i]"}],
}


def test_alarms_and_proposals_are_text_and_nothing_is_said_without_them(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(finished_run)
    proposal = {"kind": "flip", "source": "topic", "target": "summary", "stated": "supports", "proposed": "conflicts", "evidence": "[red]a[/red]"}  # fmt: skip
    report = {"proposals": [proposal], "alarms": [ALARM]}
    monkeypatch.setattr(Run, "graph_report", property(lambda run: report))
    text = shown(summary_tables(run), 200)
    assert "[red]a[/red]" in text
    assert "[bold]b[/bold]" in text
    assert "1/a/2: '[i]x[/i]'" in text
    assert "Do this." in text
    report |= {"proposals": [], "alarms": []}
    monkeypatch.setattr(Run, "graph", lambda run: run.stated_graph)
    assert [str(table.title)[:5] for table in summary_tables(run)] == ["Held-", "Nodes"]
