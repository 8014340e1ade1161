"""The reader: every problem at once, each at its place, with near misses. Golden messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, graph_warnings, load_graph
from rag_graph.graph.reader import edge_places, find_graph, places_of, shipped_graphs

ProblemsAfter = Callable[[tuple[str, str]], list[str]]


def test_all_problems_at_once_sorted_by_place(
    problems: Callable[[Path], list[str]], write_graph: Callable[..., Path]
) -> None:
    path = write_graph(
        """\
format: 1
name: g
tasks:
  topic: {kind: clasification, labels: [a, b], metrics: {acuracy: 1.0}, prompt: "{inptu}", fields: {input: text, reference: label}}
  headline: {kind: generation, metrics: {rouge_l: 1.0}, prompt: "{input}", fields: {input: text}, dataset: {path: x, hub: y}, gaol: 1}
criteria:
  brief: {metric: length_band, args: {moist: 12}, applies_to: [headlin]}
edges:
  - {from: brief, to: headline, relation: prequisite, strength: 0.8}
  - {from: brief, to: headline, relation: supports, strength: 1.7}
  - {from: breif, to: topic, relation: supports}
  - {from: topic, to: topic, relation: supports}
  - {from: topic, to: headline, relation: grounds}
  - {from: brief, to: headline}
"""
    )
    assert problems(path) == [
        "g.yaml:4:17: tasks.topic.kind: unknown value 'clasification'. Did you mean 'classification'? Known: classification, generation, extraction.",
        "g.yaml:4:58: tasks.topic.metrics.acuracy: unknown value 'acuracy'. Did you mean 'accuracy'? Known: accuracy, bleu, entity_recall, exact_match, external, faithfulness, format, judge, label_preserved, length_band, macro_f1, rouge_1, rouge_2, rouge_l, token_f1.",
        "g.yaml:4:81: tasks.topic.prompt: unknown placeholder '{inptu}'. Did you mean 'input'? Known here: context, input, labels. For the text '{inptu}', write {{inptu}}.",
        "g.yaml:5:84: tasks.headline.fields: no 'reference': name the column that contains the correct answer.",
        "g.yaml:5:108: tasks.headline.dataset: exactly one of path, hub, name is needed, path and hub given.",
        "g.yaml:5:127: tasks.headline.gaol: unknown key 'gaol'. Did you mean 'goal'?",
        "g.yaml:7:39: criteria.brief.args.moist: metric 'length_band' has no argument 'moist'. Did you mean 'most'? It takes least, most.",
        "g.yaml:7:64: criteria.brief.applies_to[0]: unknown task 'headlin'. Did you mean 'headline'?",
        "g.yaml:9:43: edges[0].relation: unknown relation 'prequisite'. Did you mean 'prerequisite'?",
        "g.yaml:10:63: edges[1].strength: 1.7 is above 1. A strength is a number from 0 to 1.",
        "g.yaml:11:12: edges[2].from: unknown node 'breif'. Did you mean 'brief'?",
        "g.yaml:12:23: edges[3].to: 'topic' is related to itself. An edge joins two nodes.",
        "g.yaml:13:12: edges[4].from: 'topic' is a task; 'grounds' starts from a context.",
        "g.yaml:14:5: edges[5].relation: 'relation' is missing.",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("criteria:\n", "criteria:\n  brief: {metric: bleu}\n"), r"g.yaml:8:3: criteria.brief: stated twice, first on line 7. Keep one."),
    ],
)  # fmt: skip
def test_a_key_that_is_stated_twice(problems_after: ProblemsAfter, change: tuple[str, str], message: str) -> None:
    found = problems_after(change)
    assert any(re.match(message, line) or re.search(message, line) for line in found), found


def test_yaml_words_stay_words(good: str, write_graph: Callable[..., Path]) -> None:
    text = good.replace("labels: [a, b]", "labels: [no, on]").replace("strength: 0.8", "strength: 5e-1")
    graph = load_graph(write_graph(text))
    assert graph.spec.tasks["topic"].label_words == ("no", "on")
    assert graph.strength.tolist() == [0.5]


def test_shipped_graphs_are_found_by_name() -> None:
    assert set(shipped_graphs()) == {"parcels", "news", "four_tasks"}
    for name in shipped_graphs():
        assert load_graph(name).name == name
    with pytest.raises(GraphFileError, match=r"no shipped graph of that name. Did you mean 'parcels'\?"):
        find_graph("parcel")


def test_a_linked_main_file_and_impossible_paths(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path], tmp_path: Path
) -> None:
    real = write_graph(good, "real/g.yaml")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/link.yaml").symlink_to(real)
    assert load_graph(tmp_path / "other/link.yaml").name == "g"
    found = problems(write_graph(good.replace("name: g\n", f"name: g\ninclude: [{'x' * 300}]\n").replace("0.8", "1.8")))
    assert any("no such file" in line for line in found)
    assert any("1.8 is above 1" in line for line in found), "one bad include hides nothing"
    with pytest.raises(GraphFileError, match="no such file, and no shipped graph"):
        load_graph("x" * 5000)


def test_problems_print_safely(
    problems: Callable[[Path], list[str]], good: str, write_graph: Callable[..., Path]
) -> None:
    found = problems(write_graph(good + '"a\\e[2J\\nc.yaml:1:1: forged": 1\n' + f"title: {'x' * 50_000}\nname: h\n"))
    assert all("\x1b" not in line and "\n" not in line and len(line) < 1000 for line in found)
    assert "\\x1b[2J\\nc.yaml" in found[0]


def test_what_can_be_a_graph(good: str, write_graph: Callable[..., Path]) -> None:
    graph = load_graph(write_graph(good))
    assert load_graph(str(write_graph(good))) == load_graph(good) == load_graph(graph) == graph
    assert load_graph(graph) is graph
    assert load_graph("{format: 1, name: g, tasks: {a: {goal: 1}}}").spec.tasks["a"].goal == 1
    for wrong in (None, {"tasks": {}}, 3):
        with pytest.raises(GraphFileError, match=r"is no graph. Give a path, .* or AuxiliaryGraph.build\(tasks"):
            load_graph(wrong)  # type: ignore[arg-type]


def test_problems_of_a_text_have_its_lines(good: str) -> None:
    with pytest.raises(GraphFileError) as error:
        load_graph(good.replace("strength: 0.8", "strength: 8"))
    assert str(error.value) == "<text>:9:67: edges[0].strength: 8 is above 1. A strength is a number from 0 to 1."
    with pytest.raises(GraphFileError, match="<text>:1:1: not a map"):
        load_graph("a\nb\n")


def test_a_graph_that_is_only_a_reward() -> None:
    graph = load_graph("format: 1\nname: g\ntasks: {correct: {goal: 1}}\ncriteria: {form: {}}\n")
    task = graph.spec.tasks["correct"]
    assert (task.kind, task.dataset, task.prompt, task.fields, task.metrics) == (None, None, None, {}, {})
    assert graph.spec.criteria["form"].metric == "external"


def test_warnings_have_a_place_where_there_is_one(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    text = "format: 1\nname: graph\ntasks: {a: {goal: 1}}\ncriteria: {c: {}}\nedges:\n  - {from: c, to: a, relation: bounds}\n"
    told = "warning: edges: no rule: where every goal is observed, this graph changes nothing."
    built = AuxiliaryGraph.build({"a": 1}, ["c"], [("c", "a", "bounds")])
    assert [str(warning) for warning in graph_warnings(text)] == [f"<text>:5:1: {told}"]
    assert [str(warning) for warning in graph_warnings(write_graph(text))] == [f"{tmp_path}/g.yaml:5:1: {told}"]
    assert [str(warning) for warning in graph_warnings(built)] == [told]
    assert built == load_graph(text)


def test_places_of_a_graph_that_came_from_no_file(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(load_graph("parcels").to_yaml())
    graph = load_graph(path)
    assert places_of(graph) == edge_places(path)
    assert len(places_of(load_graph("parcels"))) == len(graph.spec.edges)
    path.unlink()
    assert places_of(graph) == places_of(AuxiliaryGraph.build({"t": 1})) == places_of(load_graph(graph.to_yaml())) == []
