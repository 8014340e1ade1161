"""Questions for judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.evaluation.judging import Question
from rag_graph.records import Episode, Example


@pytest.fixture(scope="session")
def ask() -> Callable[..., Question]:
    """An answer, and what is asked about it -> a question."""

    def make(
        answer: str,
        text: str = "Is it kind?",
        prompt: str = "Well?",
        reference: str | None = None,
        low: float = 1,
        high: float = 5,
        node: str = "kind",
    ) -> Question:
        example = Example("1", "reply", {"input": prompt}, ())
        return Question(node, text, low, high, Episode("1", example, prompt, answer), reference)

    return make


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a test is its own."""
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
