"""How objects show themselves: short lines, small tables, nothing that a browser would run."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rag_graph.display import CELL, ROWS, count, cut, flat, html_table, numbers, one_line, settings_line


def test_a_text_is_cut_to_one_line() -> None:
    assert cut("a  b\nc") == "a b c"
    assert cut("x" * 61) == "x" * 59 + "…"
    assert cut("x" * 60) == "x" * 60
    assert one_line("A", "one", "", "two") == "A(one, two)"
    assert len(one_line("Name", "y" * 500)) == 180


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "task", None, ""),
        (1, "task", None, "1 task"),
        (2, "task", None, "2 tasks"),
        (2, "criterion", "criteria", "2 criteria"),
    ],
)
def test_counts(number: int, noun: str, plural: str | None, text: str) -> None:
    assert count(number, noun, plural) == text


def test_settings_under_dotted_names() -> None:
    settings: dict[str, Any] = {"a": 1, "b": {"c": [2], "d": {"e": None}}, "f": {}}
    assert flat(settings) == {"a": 1, "b.c": [2], "b.d.e": None, "f": {}}
    assert settings_line("S", settings) == "S(a=1, b.c=[2], b.d.e=None, f={})"
    assert numbers({"a": 0.126, "b": None}) == "{a: 0.13, b: -}"


def test_a_table_is_escaped_and_small() -> None:
    rows = [(f"<script>{n}</script>", "x" * 1000) for n in range(ROWS + 7)]
    text = html_table("a & b", ("<th>", "long"), rows, ["<b>note</b>"] * 9)
    assert "<script" not in text
    assert "&lt;script&gt;0&lt;/script&gt;" in text
    assert "a &amp; b" in text
    assert "<b>" not in text
    assert text.count("<tr>") == ROWS + 1
    assert "and 7 more rows" in text
    assert text.count("&lt;b&gt;note") == 5
    assert max(map(len, re.findall(r"<td>(x[^<]*)</td>", text))) == CELL
    assert len(text) < 6000


def test_a_table_without_rows_is_its_caption() -> None:
    assert html_table("nothing", ("a",), []) == "<div><strong>nothing</strong></div>"
