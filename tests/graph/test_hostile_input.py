"""Whatever the bytes, the reader answers in bounded time and memory, and never with a traceback.

This file is named after no module: such files must pass through all of them, from the bytes to the checks of the graph.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rag_graph.graph.reader import check_graph

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
HOSTILE = {
    "object tag": (b"!!python/object/apply:os.system ['true']", "a tag"),
    "object tag in a value": (b"format: !!python/name:os.system 1", "a tag"),
    "alias bomb": (BOMB.encode(), "an anchor"),
    "alias to itself": (b"a: &x [*x]", "an anchor"),
    "deep flow": (b"[" * 100_000, "nested more than 32 deep"),
    "deep map": (b"{a: " * 100_000, "nested more than 32 deep"),
    "deep block": ("".join(" " * i + "a:\n" for i in range(1500)).encode(), "nested more than 32 deep"),
    "50 MB": (b"a" * 50_000_000, "more than a graph file may have"),
    "binary": (bytes(range(256)) * 10, "not UTF-8"),
    "null bytes": (b"\0" * 1000, "not valid YAML"),
    "utf-16": ("format: 1\nname: g\n".encode("utf-16"), "not UTF-8"),
    "utf-32": ("format: 1\nname: g\n".encode("utf-32"), "not UTF-8"),
    "latin-1": ("name: caf\u00e9".encode("latin-1"), "not UTF-8"),
    "empty": (b"", "not a map"),
    "list": (b"- 1", "not a map"),
    "two documents": (b"a: 1\n---\nb: 2", "a second YAML document"),
    "merge key": (b"<<: {format: 1}\nname: g", "unknown key '<<'"),
    "surrogate": (b'title: "\\ud800"', "not valid YAML"),
    "list as key": (b"[a, b]: 1", "a key that is a list"),
    "huge number": (b"format: " + b"9" * 100_000, "is not a format"),
    "many values": (b"a: [" + b"1," * 201_000 + b"]", "more than 200,000 values"),
    "huge exponent": (b"format: 1\nname: g\nedges: [{from: a, to: b, relation: supports, strength: 1e999}]", "finite number"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_quickly(tmp_path: Path, name: str) -> None:
    raw, message = HOSTILE[name]
    path = tmp_path / "g.yaml"
    path.write_bytes(raw)
    began = time.process_time()  # not the clock: other processes may take their share
    tracemalloc.start()
    graph, problems = check_graph(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 60, "parsing 100,000 brackets to their end takes minutes"
    assert graph is None
    assert any(message in str(problem) for problem in problems), [str(problem)[:200] for problem in problems][:5]
    assert peak < 300_000_000
    assert all(len(str(problem)) < 200_500 for problem in problems)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=400))
@example(b"tasks: {a: 1}")
@example(b"? a\n: b")
@example(b"\xef\xbb\xbfformat: 1")
@example(b"a: 'unclosed")
def test_any_bytes_never_raise(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "g.yaml"
    path.write_bytes(raw)
    graph, problems = check_graph(path)
    assert (graph is None) == bool(problems)


keys = st.sampled_from(["format", "name", "tasks", "criteria", "contexts", "edges", "relations", "include", "kind", "metrics", "prompt", "labels", "goal", "from", "to", "relation", "strength", "metric", "args", "of", "applies_to", "fields", "dataset", "text", "file", "semantics", "source", "topic"])  # fmt: skip
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=5),
    keys,
    st.sampled_from(["classification", "supports", "accuracy", "1"]),
)
documents = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=25,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(keys, documents, max_size=6))
@example(
    {
        "format": 1,
        "name": "g",
        "tasks": {"t": {"labels": {"a": [1]}, "metrics": [], "prompt": 3}},
        "edges": [{"from": [], "to": {}}],
    }
)
@example(
    {
        "tasks": {"t": {"labels": [[]]}},
        "relations": {"r": {"source": 1}},
        "edges": [{"from": "t", "to": "t", "relation": "r"}],
    }
)
@example({"criteria": {"c": {"metric": [], "args": {"most": []}, "of": []}}, "contexts": {"x": {"file": "\0"}}})
def test_any_structure_never_raises(tmp_path: Path, content: dict[str, object]) -> None:
    """Right words in wrong places: this reaches the checks behind the syntax."""
    import yaml

    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    graph, problems = check_graph(path)
    assert (graph is None) == bool(problems)
    assert all(problem.place.line >= 1 for problem in problems)
