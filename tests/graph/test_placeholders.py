"""Placeholders in prompts, and braces that are text."""

from __future__ import annotations

import pytest

from rag_graph.graph.placeholders import escaped, fill, placeholders

KNOWN = ("input", "user-query", "\u95ee\u9898", "full name", "context", "a.b")
VALUES = {name: f"<{name}>" for name in KNOWN}


@pytest.mark.parametrize(
    ("prompt", "names", "filled"),
    [
        ("{input} ?", ["input"], "<input> ?"),
        ("{ input } ?", ["input"], "<input> ?"),
        ("{user-query} {\u95ee\u9898} {full name} {a.b}", ["user-query", "\u95ee\u9898", "full name", "a.b"], "<user-query> <\u95ee\u9898> <full name> <a.b>"),
        (r"{input} in \boxed{{answer}}.", ["input"], r"<input> in \boxed{answer}."),
        (r"\frac{1}{2} {input}", ["input"], r"\frac{1}{2} <input>"),
        ('{input} as {"label": "a", "more": {"b": {}}}', ["input"], '<input> as {"label": "a", "more": {"b": {}}}'),
        ("{{input}} {{ }} {{}}", [], "{input} { } {}"),
        ("{inptu} {input}", ["inptu", "input"], "{inptu} <input>"),
        ("{a b} {x: 1} {1} {}", [], "{a b} {x: 1} {1} {}"),
        ("{{{input}}} {{{{input}}}} {{{inptu}}}", ["input", "inptu"], "{<input>} {{input}} {{{inptu}}}"),
        ("{input}} {{input}", ["input", "input"], "<input>} {<input>"),
    ],
)  # fmt: skip
def test_what_is_filled(prompt: str, names: list[str], filled: str) -> None:
    assert list(placeholders(prompt, KNOWN)) == names
    assert fill(prompt, VALUES) == filled


def test_values_are_not_filled_again_and_dropped_names_take_their_gap() -> None:
    assert fill("{input} {full name}", {"input": "{full name} {{x}}", "full name": "b"}) == "{full name} {{x}} b"
    for prompt in ("{context}\n{input}", "{context} {input}", "{ context }{input}"):
        assert fill(prompt, VALUES, dropped=["context"]) == "<input>"
    assert fill("{{context}} {input}", VALUES, dropped=["context"]) == "{context} <input>"
    assert escaped("{{input}} {{ x }} {y}") == {"input", "x"}
