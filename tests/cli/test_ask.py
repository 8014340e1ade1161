"""`rag-graph ask`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Cli = Callable[..., CompletedProcess[str]]


def test_ask_shows_draft_evidence_answer_and_rewards(run_cli: Cli, finished: Path) -> None:
    done = run_cli(
        "ask", finished, "where is it from ?", "--input", "anna bought a red kettle . it arrived in 3 days ."
    )
    assert done.returncode == 0, done.stderr
    for part in (
        "task",
        "draft",
        "red kettle of anna",
        "archive grounds question (0.9); bm25",
        "answer",
        "grounded",
        "imputed",
        "reward",
    ):
        assert part in done.stdout
    topic = run_cli("ask", finished, "ben chose a blue rake .", "--task", "topic")
    assert "well_formed" in topic.stdout
    assert "Did you mean 'topic'?" in run_cli("ask", finished, "x", "--task", "topics").stderr
