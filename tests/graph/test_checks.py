"""Checks that need the whole graph: names, ends of relations, labels, arguments of metrics, cycles."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.reader import graph_warnings

ProblemsAfter = Callable[[tuple[str, str]], list[str]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("  brief:", "  topic:"), r"g.yaml:7:3: criteria.topic: 'topic' is also a name in tasks."),
        (("kind: classification, labels: [a, b]", "kind: classification"), r"g.yaml:4:17: tasks.topic.kind: a classification task needs 'labels'."),
        (("metric: length_band, args: {most: 12}", "metric: length_band"), r"g.yaml:7:19: criteria.brief.metric: 'length_band' needs args"),
        (("metric: length_band, args: {most: 12}", 'metric: format, args: {pattern: "("}'), r"g.yaml:7:34: criteria.brief.args.pattern: not a regular expression"),
        (("metric: length_band, args: {most: 12}", "metric: label_preserved, of: headline"), r"criteria.brief.of: 'headline' is not a classification task"),
        (("edges:\n", "edges:\n  - {from: brief, to: headline, relation: prerequisite}\n"), r"g.yaml:10:5: edges\[1\]: stated twice: edges\[0\] says brief prerequisite headline too."),
    ],
)  # fmt: skip
def test_messages(problems_after: ProblemsAfter, change: tuple[str, str], message: str) -> None:
    found = problems_after(change)
    assert any(re.match(message, line) or re.search(message, line) for line in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{rouge_l: 1.0}", "{label_preserved: 1.0}"), "'label_preserved' takes arguments: make it a criterion"),
        (("{most: 12}", "{least: 9, most: 2}"), "least 9 and most 2: no length is between them"),
        (('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "hi", fields: {input: text, reference: title}'), "the prompt shows no field"),
        (('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "{{input}}", fields: {input: text, reference: title}'), "'{{input}}' is the text '{input}', and the field 'input' is not shown. Write {input}, with single braces."),
        (('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "{input} {user-qery}", fields: {input: text, user-query: q, reference: title}'), "unknown placeholder '{user-qery}'. Did you mean 'user-query'? Known here: context, input, labels, user-query. For the text '{user-qery}', write {{user-qery}}."),
        (('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "{input} boxed{answer}", fields: {input: text, reference: title}'), "For the text '{answer}', write {{answer}}."),
        (("{input: text, reference: title}", "{input: text}, dataset: {path: d.csv}"), "no 'reference': name the column that contains the correct answer."),
        (("{input: text, reference: title}", "{input: text, context: c, reference: title}"), "'context' is filled by the prompt itself. Give the field another name, such as 'text: c', and show it as {text}."),
        (('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "{context} {input}", fields: {input: text, passage: context, reference: title}'), "{context} is not the column 'context', and is always empty here. The field 'passage' reads that column: write {passage}."),
        (('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "{labels} {input}", fields: {input: text, passage: labels, reference: title}'), "{labels} is not the column 'labels', and is always empty here. The field 'passage'"),
    ],
)  # fmt: skip
def test_what_could_never_work_is_refused(problems_after: ProblemsAfter, change: tuple[str, str], message: str) -> None:
    found = problems_after(change)
    assert len(found) == 1, found
    assert message in found[0], found


def test_many_labels_and_misspelt_names_stay_quick(
    problems: Callable[[Path], list[str]], write_graph: Callable[..., Path]
) -> None:
    labels = ", ".join(f"label{i}" for i in range(20_000))
    nodes = "".join(f"  c{i}: {{metric: format}}\n" for i in range(1000))
    edges = "".join(f"  - {{from: c{i}x, to: t, relation: supports}}\n" for i in range(1000))
    path = write_graph(
        f"format: 1\nname: g\ntasks: {{t: {{kind: classification, labels: [{labels}], metrics: {{accuracy: 1}}, prompt: x}}}}\ncriteria:\n{nodes}edges:\n{edges}"
    )
    began = time.process_time()  # not the clock: other processes may take their share
    found = problems(path)
    assert len(found) == 101
    assert found[-1].endswith("more than 100 problems: the others are not shown.")
    assert time.process_time() - began < 60, "checks that are quadratic in the labels take minutes"


def test_a_rubric_has_no_metric_of_its_own() -> None:
    with pytest.raises(GraphFileError) as error:
        AuxiliaryGraph.build(
            {"t": 1}, {"a": {"items": "goals"}, "b": {"items": "goals", "metric": "format"}, "c": {"items": ""}}
        )
    assert str(error.value).splitlines() == [
        "criteria.b.metric: 'format' knows no items. The items of a rubric are scored by your own function, a table or a judge: leave 'metric' out, or write judge.",
        "criteria.c.items: string should have at least 1 character, '' given.",
    ]


def test_patterns_that_can_take_for_ever_are_warned_of(write_graph: Callable[..., Path]) -> None:
    text = "format: 1\nname: g\ntasks: {t: {goal: 1}}\ncriteria:\n"
    text += "  a: {metric: format, args: {pattern: '(.+)+END'}}\n  b: {metric: format, args: {pattern: '(a+b)+c?'}}\n"
    text += "edges:\n  - {from: a, to: t, relation: prerequisite}\n  - {from: b, to: t, relation: prerequisite}\n"
    found = [str(one) for one in graph_warnings(write_graph(text))]
    assert len(found) == 1
    assert "criteria.a.args.pattern: a repeat within a repeat" in found[0]


@pytest.mark.parametrize("pattern", ["(?u)(?a)a", "(", "a{99999999999999999999}"])
def test_what_is_no_pattern_is_refused(
    problems: Callable[[Path], list[str]], write_graph: Callable[..., Path], pattern: str
) -> None:
    text = (
        "format: 1\nname: g\ntasks: {t: {goal: 1}}\ncriteria:\n"
        + f"  a: {{metric: format, args: {{pattern: '{pattern}'}}}}\n"
    )
    found = problems(write_graph(text))
    assert len(found) == 1
    assert "criteria.a.args.pattern: not a regular expression" in found[0]


@pytest.mark.parametrize("text", ["a\\0b", "\\e[31mred", "\\ud800"])
def test_control_characters_are_refused(
    problems: Callable[[Path], list[str]], write_graph: Callable[..., Path], text: str
) -> None:
    found = problems(write_graph(f'format: 1\nname: g\ntitle: "{text}"\ntasks: {{t: {{goal: 1, title: "{text}"}}}}\n'))
    assert found
    assert all("\x1b" not in line and "\0" not in line for line in found), found


@pytest.mark.parametrize(
    "change",
    [
        ('prompt: "{input}", fields: {input: text, reference: title}', 'prompt: "{input} {user query}, {\u95ee\u9898}, {{answer}}, {1}", fields: {input: text, user query: q, \u95ee\u9898: w, reference: title}'),
        ('metrics: {rouge_l: 1.0}, prompt: "{input}", fields: {input: text, reference: title}', 'metrics: {faithfulness: 1.0}, prompt: "{input}", fields: {input: text}, dataset: {path: d.csv}'),
    ],
)  # fmt: skip
def test_what_is_no_problem(problems_after: ProblemsAfter, change: tuple[str, str]) -> None:
    assert problems_after(change) == []
