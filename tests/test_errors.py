"""Errors: one root, exit codes, near misses."""

from __future__ import annotations

import pytest

from rag_graph import errors
from rag_graph.errors import RagGraphError, near_miss


@pytest.mark.parametrize(
    ("name", "code"),
    [("GraphFileError", 2), ("ConfigError", 2), ("DataError", 1), ("ModelError", 1), ("TrainingError", 1)],
)
def test_one_root_and_the_codes_of_the_command_line(name: str, code: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, RagGraphError)
    assert kind.exit_code == code


def test_near_misses() -> None:
    assert near_miss("kettel", ["mixer", "kettle"]) == " Did you mean 'kettle'?"
    assert near_miss("kettel", ["mixer"]) == ""
    assert near_miss("kettel", []) == ""
