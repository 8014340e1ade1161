"""Errors: one root, exit codes, near misses."""

from __future__ import annotations

import sys

import pytest

from rag_graph import errors
from rag_graph.errors import MissingPackageError, RagGraphError, near_miss, need


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("GraphFileError", 2),
        ("ConfigError", 2),
        ("DataError", 1),
        ("ModelError", 1),
        ("TrainingError", 1),
        ("MissingPackageError", 1),
    ],
)
def test_one_root_and_the_codes_of_the_command_line(name: str, code: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, RagGraphError)
    assert kind.exit_code == code


def test_near_misses() -> None:
    assert near_miss("kettel", ["mixer", "kettle"]) == " Did you mean 'kettle'?"
    assert near_miss("kettel", ["mixer"]) == ""
    assert near_miss("kettel", []) == ""


def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    need("this", "bm25s", "pyarrow")
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what Python takes for a module that cannot be imported
    with pytest.raises(MissingPackageError) as told:
        need("a table", "bm25s", "pyarrow")
    assert str(told.value) == 'a table needs pyarrow, which is not installed. Run: pip install "rag-graph[parquet]"'
    assert told.value.name == "pyarrow"
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="needs ray, pyarrow, which are not installed"):
        need("a table", "ray", "pyarrow")
