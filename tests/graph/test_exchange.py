"""file -> graph -> each format -> graph is the identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.exchange import WRITERS
from rag_graph.graph.spec import ROLES, GraphSpec

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,12}", fullmatch=True)
texts = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30),
    st.sampled_from(["1e3", "089", "+.5", "1.e3", "no", "2001-01-01", "~", "0x1f", "=", "<<"]),
)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=10)


@st.composite
def graphs(draw: Any) -> AuxiliaryGraph:
    nodes = draw(st.lists(names, min_size=3, max_size=8, unique=True))
    cut, end = draw(st.integers(1, len(nodes) - 1)), draw(st.integers(1, len(nodes)))
    tasks, criteria, contexts = nodes[:cut], nodes[cut:end], nodes[max(cut, end) :]
    spec: dict[str, Any] = {
        "format": 1,
        "name": draw(names),
        "title": draw(texts),
        "tasks": {},
        "criteria": {},
        "contexts": {},
    }
    for name in tasks:
        labels = draw(st.one_of(st.lists(words, max_size=3, unique=True), st.dictionaries(words, words, max_size=2)))
        kind = draw(st.sampled_from(["generation", "extraction"]))
        goal = draw(st.floats(0, 10))
        spec["tasks"][name] = {
            "title": draw(texts),
            "kind": kind,
            "labels": labels,
            "goal": goal,
            "metrics": {"bleu": draw(st.floats(0.1, 1))},
            "prompt": draw(texts.filter(lambda t: "{" not in t)),
        }
        if isinstance(labels, dict) and len(set(labels.values())) < len(labels):
            spec["tasks"][name]["labels"] = []
    for name in criteria:
        spec["criteria"][name] = {
            "title": draw(texts),
            "metric": "length_band",
            "args": {"most": draw(st.integers(1, 99))},
            "applies_to": draw(st.lists(st.sampled_from(tasks), max_size=2, unique=True)),
        }
    for name in contexts:
        spec["contexts"][name] = {"title": draw(texts), "kind": "guideline", "text": draw(words)}
    semantics = draw(st.sampled_from([meaning for meaning in ROLES if meaning != "gate"]))  # gates must have no cycle
    spec["relations"] = {"my_relation": {"title": draw(texts), "semantics": semantics}} if draw(st.booleans()) else {}
    ends = tasks + criteria
    relations = ["bounds", "indicates_low", "supports", "conflicts", "shares_structure", *spec["relations"]]
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(ends), st.sampled_from(ends), st.sampled_from(relations)), max_size=8, unique=True
        )
    )
    spec["edges"] = [
        {"from": a, "to": b, "relation": r, "strength": draw(st.floats(0, 1)), "tuned": draw(st.booleans())}
        for a, b, r in pairs
        if a != b
    ]
    return AuxiliaryGraph(GraphSpec.model_validate(spec))


@pytest.mark.parametrize("suffix", list(WRITERS))
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(graphs())
def test_identity(tmp_path: Path, suffix: str, graph: AuxiliaryGraph) -> None:
    path = tmp_path / f"g{suffix}"
    path.write_bytes(WRITERS[suffix](graph.spec).encode("utf-8"))
    again = load_graph(path)
    assert again == graph
    assert again.nodes == graph.nodes
    assert again.edge_index.tolist() == graph.edge_index.tolist()
    assert again.spec.edges == graph.spec.edges
    assert [again.role(edge) for edge in again.spec.edges] == [graph.role(edge) for edge in graph.spec.edges]


@pytest.mark.parametrize("name", ["parcels", "news", "four_tasks"])
def test_shipped_graphs_through_all_formats(tmp_path: Path, name: str) -> None:
    graph = current = load_graph(name)
    for suffix in (".json", ".graphml", ".yaml", ".graphml", ".json"):
        path = tmp_path / f"g{suffix}"
        path.write_text(WRITERS[suffix](current.spec), encoding="utf-8")
        current = load_graph(path)
    assert current == graph


def test_parallel_relations_between_two_nodes_survive(tmp_path: Path) -> None:
    graph = load_graph("parcels")
    spec = graph.spec.model_dump(by_alias=True)
    spec["edges"] = [*spec["edges"], {"from": "topic", "to": "summary", "relation": "supports", "strength": 0.1}]
    doubled = AuxiliaryGraph(GraphSpec.model_validate(spec))
    path = tmp_path / "g.graphml"
    path.write_text(WRITERS[".graphml"](doubled.spec), encoding="utf-8")
    assert load_graph(path) == doubled


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("g.json", "{"),
        ("g.json", "[]"),
        ("g.json", json.dumps({"nodes": [], "edges": []})),
        ("g.json", json.dumps({"graph": {"format": 1}, "nodes": [{"id": "a"}], "edges": []})),
        ("g.json", "[" * 100_000),
        ("g.graphml", "<graphml/>"),
        ("g.graphml", '<!DOCTYPE x [<!ENTITY a "b">]><graphml/>'),
        ("g.graphml", "not xml"),
    ],
)
def test_what_is_no_graph_is_refused_in_one_line(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(GraphFileError, match=name):
        load_graph(path)


def edited(tmp_path: Path, change: Any) -> Path:
    content = json.loads(WRITERS[".json"](load_graph("parcels").spec))
    change(content)
    path = tmp_path / "g.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(directed=False), "must say 'directed': true"),
        (lambda c: c["nodes"].append(c["nodes"][0]), "node 'topic' is stated twice"),
        (lambda c: c["edges"].append(c["edges"][0]), r"edges\[\d\]: stated twice: edges\[\d\] says"),
        (lambda c: c["edges"][0].update(target="zzz"), r"edges\[\d\].to: unknown node 'zzz'"),
        (lambda c: c["edges"][0].update(strength=1.7), r"edges\[\d\].strength: 1.7 is above 1"),
        (lambda c: c["edges"][0].update(colour="red"), r"edges\[\d\].colour: unknown key 'colour'"),
        (lambda c: c["nodes"][0].update(kind="taks"), "node 'topic': kind 'taks' is none of task, criterion, context. Did you mean 'task'?"),
        (lambda c: c["nodes"][-1]["spec"].update(file="../../etc/passwd", of=None), "leaves the folder of the graph"),
        (lambda c: c["graph"].update(title="\ud800"), "UnicodeEncodeError"),
    ],
)  # fmt: skip
def test_hand_edited_exchange_files_are_checked_like_any_other(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(GraphFileError, match=message):
        load_graph(edited(tmp_path, change))


def test_all_problems_of_an_exchange_file_at_once(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["edges"][0]["strength"] = 2
        content["edges"][1]["key"] = "supportz"

    with pytest.raises(GraphFileError) as caught:
        load_graph(edited(tmp_path, change))
    assert "2 is above 1" in str(caught.value)
    assert "Did you mean 'supports'?" in str(caught.value)


def test_repeated_keys_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text('{"directed": true, "directed": true}')
    with pytest.raises(GraphFileError, match="the key 'directed' is stated twice in one object"):
        load_graph(tmp_path / "g.json")
    (tmp_path / "z.json").symlink_to("/dev/zero")
    with pytest.raises(GraphFileError, match="not a regular file"):
        load_graph(tmp_path / "z.json")


def test_includes_are_merged_away(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("criteria:\n  brief: {metric: format}\n")
    (tmp_path / "g.yaml").write_text(
        "format: 1\nname: g\ninclude: [more.yaml]\ntasks: {t: {kind: generation, metrics: {bleu: 1}, prompt: x}}\n"
    )
    graph = load_graph(tmp_path / "g.yaml")
    for suffix, writer in WRITERS.items():
        path = tmp_path / f"out{suffix}"
        path.write_text(writer(graph.spec))
        assert load_graph(path) == graph
