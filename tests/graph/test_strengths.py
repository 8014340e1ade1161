"""Learned strengths go into the researcher's file as numbers and change nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rag_graph.cli.app import app
from rag_graph.errors import GraphFileError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.strengths import Learned, apply_strengths, key_of, read_strengths, strengths_yaml

FILE = """# my graph
format: 1
name: g
tasks:
  t: {kind: generation, goal: 1.0, metrics: {rouge_l: 1}, fields: {input: x, reference: y}, prompt: "{input}"}
criteria:
  a: {metric: format}   # a comment
  b: {metric: format}
  c: {metric: format}
edges:
  - {from: a,  to: t, relation: supports,     strength: 0.25}   # keep me
  - {from: b,  to: t, relation: prerequisite, strength: .5, tuned: false}
  - {from: c,  to: t, relation: 'conflicts'}  # at its default
  - from: a
    to: b
    relation: supports   # block style
    tuned: true
  - from: b
    to: c
    relation: supports
    strength: 1e-1 # a number like this
"""


def learned(path: Path, values: list[float]) -> AuxiliaryGraph:
    return load_graph(path).with_strengths(values)


def test_only_the_numbers_change(write_graph: Callable[..., Path]) -> None:
    path = write_graph(FILE)
    graph = load_graph(path)
    values = [0.75, 0.9, 0.1, 0.625, 0.3]
    strengths = {key_of(e): Learned(v, e.strength) for e, v in zip(graph.spec.edges, values, strict=True)}
    texts, changes = apply_strengths(path, strengths)
    assert texts[path] == (
        FILE.replace("strength: 0.25", "strength: 0.75")
        .replace("relation: 'conflicts'}", "relation: 'conflicts', strength: 0.1}")
        .replace("    relation: supports   # block", "    strength: 0.625\n    relation: supports   # block")
        .replace("1e-1", "0.3")
    )
    assert [change.after for change in changes] == [0.75, 0.1, 0.625, 0.3], "a frozen strength stays"
    assert str(changes[0]) == f"{path}:11: a -> t supports (rule): 0.25 -> 0.75"


@settings(max_examples=40)
@given(st.lists(st.integers(0, 1000), min_size=5, max_size=5))
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, thousandths: list[int]) -> None:
    folder = tmp_path_factory.mktemp("g")
    path = folder / "g.yaml"
    path.write_text(FILE, encoding="utf-8")
    graph = load_graph(path)
    wanted = [0.5 if not e.tuned else n / 1000 for e, n in zip(graph.spec.edges, thousandths, strict=True)]
    run = folder / "strengths.yaml"
    run.write_text(strengths_yaml(graph, graph.with_strengths(wanted)), encoding="utf-8")
    texts, _ = apply_strengths(path, read_strengths(run))
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    assert [e.strength for e in load_graph(path).spec.edges] == pytest.approx(wanted)
    assert apply_strengths(path, read_strengths(run))[1] == [], "twice is once"


def test_includes_change_in_their_own_file(write_graph: Callable[..., Path]) -> None:
    write_graph(FILE.replace("name: g", "name: inner"), "parts/inner.yaml")
    path = write_graph("format: 1\r\nname: outer\r\ninclude: [parts/inner.yaml]\r\n", "outer.yaml")
    texts, changes = apply_strengths(path, {("a", "t", "supports"): Learned(0.9, 0.25)})
    assert [file.name for file in texts] == ["inner.yaml"]
    assert changes[0].file.name == "inner.yaml"


def test_what_does_not_fit_is_refused(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    path = write_graph(FILE)
    with pytest.raises(GraphFileError, match="no relation x -> t supports"):
        apply_strengths(path, {("x", "t", "supports"): Learned(0.9, 0.5)})
    with pytest.raises(
        GraphFileError,
        match=r"no relation a -> t bounds.*It is now supports \(fact -> rule: changes what is wanted\)\. Is it the graph of that run",
    ):
        apply_strengths(path, {("a", "t", "bounds"): Learned(0.9, 0.5)})
    with pytest.raises(GraphFileError, match="A run that has ended has a strengths.yaml"):
        read_strengths(tmp_path / "none.yaml")
    for text in (
        "a: 1",
        "edges: 3",
        "edges: [{from: a}]",
        "edges: [{from: a, to: t, relation: supports, strength: 7, was: 0.1}]",
    ):
        bad = write_graph(text, "bad.yaml")
        with pytest.raises(GraphFileError):
            read_strengths(bad)


def test_the_command_shows_applies_and_picks(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    path, run = write_graph(FILE), tmp_path / "run"
    run.mkdir()
    graph = load_graph(path)
    (run / "strengths.yaml").write_text(strengths_yaml(graph, learned(path, [0.7, 0.9, 0.1, 0.6, 0.3])))
    shown = CliRunner().invoke(app, ["graph", "apply", str(run), str(path), "--dry-run"])
    assert shown.exit_code == 0
    assert "a -> t supports (rule): 0.25 -> 0.7" in shown.output
    assert path.read_text() == FILE
    assert CliRunner().invoke(app, ["graph", "apply", str(run), str(path), "--only", "b>c"]).exit_code == 0
    assert path.read_text() == FILE.replace("1e-1", "0.3")
    wrong = CliRunner().invoke(app, ["graph", "apply", str(run), str(path), "--only", "b>d"])
    assert "no such relation" in str(wrong.exception)


HEAD = FILE[: FILE.index("edges:")]


@pytest.mark.parametrize(
    "edges",
    [
        "edges:\n  - {from: a, to: t,\n     relation: supports}\n",
        "edges:\n  - from: a\n    to: t\n    relation: >-\n      supports\n",
        "edges:\n  - from: a\n    ? relation\n    : supports\n    to: t\n",
        'edges: [{from: a, to: t, relation: "supports"}]\r\n',
        "edges:\r\n  - from: a\r\n    to: t\r\n    relation: supports  # why\r\n",
        "edges:\n  -\n    relation: supports\n    from: a\n    to: t\n",
        "edges:\n  - {from: a, to: t, relation: supports, strength:\n       0.5}\n",
    ],
)
def test_an_odd_layout_is_spliced_rightly_or_refused(write_graph: Callable[..., Path], edges: str) -> None:
    path = write_graph(HEAD + edges)
    before = path.read_bytes()
    try:
        texts, _ = apply_strengths(path, {("a", "t", "supports"): Learned(0.125, 0.5)})
    except GraphFileError:
        assert path.read_bytes() == before
        return
    path.write_bytes(texts[path].encode())
    assert load_graph(path).spec.edges[0].strength == 0.125
    assert ("\r\n" in texts[path]) == ("\r\n" in edges)


def test_a_file_that_changed_since_is_not_overwritten(write_graph: Callable[..., Path]) -> None:
    path = write_graph(FILE)
    with pytest.raises(GraphFileError, match=r"a t supports is 0.25 now and was 0.5.*--force"):
        apply_strengths(path, {("a", "t", "supports"): Learned(0.9, 0.5)})
    assert apply_strengths(path, {("a", "t", "supports"): Learned(0.9, 0.5)}, force=True)[1]


def test_bom_links_and_names_that_yaml_would_misread(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    path = write_graph(
        FILE.replace("  a: {", '  "null": {')
        .replace("from: a,", 'from: "null",')
        .replace("from: a\n", 'from: "null"\n')
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    graph = load_graph(path)
    run, link = tmp_path / "strengths.yaml", tmp_path / "link.yaml"
    run.write_text(strengths_yaml(graph, graph.with_strengths([0.75, 0.5, 0.1, 0.6, 0.3])), encoding="utf-8")
    link.symlink_to(path)
    done = CliRunner().invoke(app, ["graph", "apply", str(run), str(link)])
    assert done.exit_code == 0, done.exception
    assert link.is_symlink()
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert load_graph(path).spec.edges[0].strength == 0.75


def test_strengths_that_did_not_move_are_written_as_the_file_has_them() -> None:
    stated = load_graph("parcels")
    graph = stated.with_strengths([0.0065] * len(stated.spec.edges))
    text = strengths_yaml(graph, AuxiliaryGraph(graph.spec).with_strengths(graph.strength.tolist()))
    assert text.count("strength: 0.0065,") == len(stated.spec.edges)
