"""Errors: one root, exit codes, near misses."""

from __future__ import annotations

import sys

import pytest

from rag_graph import errors
from rag_graph.errors import DataError, MissingPackageError, RagGraphError, check_no_secret, near_miss, need, redacted


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://user:p@ss@host:19530/x.", "at http://***@host:19530/x."),
        ("https://token@host", "https://***@host"),
        ("ssh://git:word@host git+ssh://git@host", "ssh://git:***@host git+ssh://git@host"),
        ("http://host/x?token=abc&y=1", "http://host/x?token=***&y=1"),
        ("https://host/@user and a@b.org", "https://host/@user and a@b.org"),
    ],
)
def test_addresses_are_shown_without_their_secrets(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert str(DataError(text)) == shown
    if text == shown:
        check_no_secret(text)
    else:
        with pytest.raises(ValueError, match="a password or a token in an address") as told:
            check_no_secret(text)
        assert not [
            part
            for part in ("p@ss", "token@", "word", "abc")
            if part in str(told.value).partition(". Settings")[0].replace("a password", "")
        ]


def test_a_near_miss_among_many_names_is_found() -> None:
    names = [f"relation{number}" for number in range(4000)] + ["kettle"]
    assert near_miss("kettel", names) == " Did you mean 'kettle'?"
    assert near_miss("relatoin17", names).startswith(" Did you mean 'relation")
    assert near_miss("k" * 1_000_000, names) == ""
