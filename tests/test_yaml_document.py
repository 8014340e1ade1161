"""YAML with places: values of YAML 1.2, where each stands, what is refused, bounded reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag_graph.yaml_document import Place, Problem, load_document, read_bounded


@pytest.mark.parametrize(
    ("text", "value"),
    [("0x1f", "0x1f"), ("+.5", 0.5), ("-7", -7), ("yes", "yes"), ("~", None), (".inf", float("inf")), ('"1"', "1"), ("1_000", "1_000")],
)  # fmt: skip
def test_plain_values(text: str, value: Any) -> None:
    document = load_document(text.encode(), "f")
    assert not document.problems
    assert document.data == value
    assert type(document.data) is type(value)


def test_places_of_keys_and_values() -> None:
    document = load_document(b"a: 1\nb:\n  - x\n  - {c: 2}\n", "f")
    assert document.data == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.place(("b", 1, "c")) == Place("f", 4, 9)
    assert document.place(("b", 1, "c"), of_key=True) == Place("f", 4, 6)
    assert document.place(("b", 1, "gone")) == Place("f", 4, 5), "the nearest ancestor"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a: &x 1", "f:1:4: an anchor ('&x')."),
        (b"a: 1\nb: *x", "f:2:4: an alias ('*x')."),
        (b"a: !t 1", "f:1:4: a tag ('!t')."),
        (b"a: 1\na: 2", "f:2:1: a: stated twice, first on line 1. Keep one."),
        (b"a: 1\nb: \xff", "f:2:4: not UTF-8 text."),
        (b"a: [1", "f:2:1: not valid YAML"),
    ],
)
def test_what_is_refused_has_its_place(raw: bytes, message: str) -> None:
    assert str(load_document(raw, "f").problems[0]).startswith(message)


def test_problems_are_one_line() -> None:
    assert str(Problem(Place("f", 1, 2), "a\nb\x1b")) == "f:1:2: a\\nb\\x1b"
    assert len(str(Problem(Place("f", 1, 2), "x" * 5000))) == len("f:1:2: ") + 600 + len(" ...")


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read_bounded(tmp_path / "f", 3) == b"1234", "one byte more says that the file is too long"
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(tmp_path)
