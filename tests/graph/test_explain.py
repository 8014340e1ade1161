"""Errors of the structure, in the words of a graph file, each at its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ProblemsAfter = Callable[[tuple[str, str]], list[str]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format: 1", "format: 7"), r"g.yaml:1:9: format: 7 is too new for this package \(rag_graph .* reads format 1\). Upgrade rag_graph."),
        (("format: 1", "format: one"), r"g.yaml:1:9: format: 'one' is not a format. Write 'format: 1'."),
        (("format: 1\n", ""), r"g.yaml:1:1: format: 'format' is missing."),
        (("name: g", "name: 9 lives"), r"g.yaml:2:7: name: '9 lives' is not a name."),
        (("strength: 0.8", "strength: strong"), r"g.yaml:9:67: edges\[0\].strength: input should be a valid number.*'strong' given."),
        (("strength: 0.8", "strength: .nan"), r"g.yaml:9:67: edges\[0\].strength: input should be a finite number, nan given."),
        (("edges:", "egdes:"), r"g.yaml:8:1: egdes: unknown key 'egdes'. Did you mean 'edges'\?"),
    ],
)  # fmt: skip
def test_messages(problems_after: ProblemsAfter, change: tuple[str, str], message: str) -> None:
    found = problems_after(change)
    assert any(re.match(message, line) or re.search(message, line) for line in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("strength: 0.8", "strength: true"), "edges\\[0\\].strength: input should be a valid number"),
        (("strength: 0.8", "strength: '0.5'"), "edges\\[0\\].strength: input should be a valid number"),
        (("labels: [a, b]", "labels: a"), "labels: a list of labels, or a map from the data's value to the word, is expected"),
        (("labels: [a, b]", "labels: [true, b]"), r"labels\[0\]: text is expected, and without quotes this is a truth value, true\. Put it in quotes\."),
        (("labels: [a, b]", "labels: [a, 017]"), r"labels\[1\]: text is expected, and without quotes this is a number, 17\. Put it in quotes\."),
        (("labels: [a, b]", "labels: {neg: 0, pos: b}"), r"labels\.neg: text is expected, and without quotes this is a number, 0\."),
        (("labels: [a, b]", "labels: [a, null]"), r"labels\[1\]: text is expected, and this is null\. Put it in quotes if it is a word"),
        (('prompt: "{input}", fields', 'prompt: {input}, fields'), r"prompt: text is expected, and braces without quotes are a map in YAML: put the text in quotes\."),
        (("labels: [a, b]", "labels: [a, [b]]"), r"labels\[1\]: text is expected, a list given\."),
        (("name: g", "name: g\nrelations: {r: {semantics: gate, source: []}}"), "relations.r.source: tuple should have at least 1 item"),
    ],
)  # fmt: skip
def test_wrong_types_are_explained_once(problems_after: ProblemsAfter, change: tuple[str, str], message: str) -> None:
    found = problems_after(change)
    assert len(found) == 1, found
    assert re.search(message, found[0]), found


def test_names_that_look_like_types(problems: Callable[[Path], list[str]], write_graph: Callable[..., Path]) -> None:
    path = write_graph(
        "format: 1\nname: g\ntasks:\n  str: {kind: generation, metrics: {rougel: 1}, prompt: x}\n  int: {kind: generation, metrics: {bleu: 1}, prompt: x, fields: {float: 5}}\n"
    )
    found = problems(path)
    assert found[0].startswith("g.yaml:4:37: tasks.str.metrics.rougel: unknown value 'rougel'. Did you mean 'rouge_l'?")
    assert any(line.startswith("g.yaml:5:") and ": tasks.int.fields.float: " in line for line in found)
