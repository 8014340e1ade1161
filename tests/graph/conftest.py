"""A good graph file, and the problems of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.graph.reader import check_graph

GOOD = """\
format: 1
name: g
tasks:
  topic: {kind: classification, labels: [a, b], metrics: {accuracy: 1.0}, prompt: "{input}", fields: {input: text, reference: label}}
  headline: {kind: generation, metrics: {rouge_l: 1.0}, prompt: "{input}", fields: {input: text, reference: title}}
criteria:
  brief: {metric: length_band, args: {most: 12}, applies_to: [headline]}
edges:
  - {from: brief, to: headline, relation: prerequisite, strength: 0.8}
"""


@pytest.fixture(scope="session")
def good() -> str:
    """A small graph file without problems."""
    return GOOD


@pytest.fixture(scope="session")
def problems() -> Callable[[Path], list[str]]:
    """path -> the problems of a graph file as text, without its folder."""

    def find(path: Path) -> list[str]:
        graph, found = check_graph(path)
        assert (graph is None) == bool(found)
        return [str(problem).replace(f"{path.parent}/", "") for problem in found]

    return find


@pytest.fixture
def problems_after(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> Callable[[tuple[str, str]], list[str]]:
    """(text, what takes its place) -> the problems of the good file after that change."""

    def find(change: tuple[str, str]) -> list[str]:
        assert change[0] in good
        return problems(write_graph(good.replace(*change, 1)))

    return find
