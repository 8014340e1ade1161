"""Progress where the output is no terminal: plain lines."""

from __future__ import annotations

import io

import pytest

from rag_graph.runs import progress
from rag_graph.runs.progress import StageProgress
from rag_graph.terminal import Terminal


def test_lines_at_most_every_ten_seconds_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 112.0, 113.0, 114.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with StageProgress(Terminal(file=out, width=80)) as shown:
        shown.stage("PPO", 4)
        for _ in range(4):
            shown.advance(reward=0.5)
        shown.say("done")
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert lines == ["PPO ...", "PPO 2/4 12 s reward 0.500", "PPO 4/4 14 s reward 0.500", "done"]


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    with StageProgress(Terminal(file=out), quiet=True) as shown:
        shown.stage("PPO", 1)
        shown.advance()
        shown.say("done")
    assert out.getvalue() == ""


def test_what_a_long_step_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 112.0, 113.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with StageProgress(Terminal(file=out, width=80)) as shown:
        shown.stage("PPO", 4)
        for done in (1, 2, 3):
            shown.waiting("judge [a]", done, 64)
    assert out.getvalue().splitlines() == ["PPO ...", "  PPO: judge [a] 2/64"]


def test_what_a_long_step_waits_for_stands_beside_the_bar() -> None:
    with StageProgress(Terminal(file=io.StringIO(), force_terminal=True)) as shown:
        shown.stage("PPO", 4)
        shown.waiting("judge a", 2, 64)
        assert shown._bars is not None
        assert shown._bars.tasks[0].fields["note"] == "judge a 2/64"
