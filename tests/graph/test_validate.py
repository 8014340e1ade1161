"""Files, text and values become one specification, or all of their problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag_graph.errors import GraphFileError
from rag_graph.graph.validate import checked_spec, read_spec
from rag_graph.yaml_document import load_document

TEXT = "format: 1\nname: g\ntasks: {a: {goal: 1}}\ncontexts:\n  p: {kind: passages, file: p.jsonl}\n"


def test_one_content_three_ways(write_graph: Callable[..., Path], tmp_path: Path) -> None:
    content = load_document(TEXT.encode(), "").data
    spec = read_spec(TEXT).spec
    assert spec is not None
    assert read_spec(write_graph(TEXT)) == (spec, [], tmp_path)
    assert read_spec(content, tmp_path) == (spec, [], tmp_path)
    assert read_spec(TEXT).root == Path(".")


def test_a_path_that_leaves_the_root_is_refused_everywhere(tmp_path: Path) -> None:
    text = TEXT.replace("p.jsonl", "../p.jsonl")
    told = "contexts.p.file: '../p.jsonl' leaves the folder of the graph. Put the file beside the graph."
    assert [str(problem) for problem in read_spec(text, tmp_path).problems] == [f"<text>:5:29: {told}"]
    with pytest.raises(GraphFileError) as error:
        checked_spec(load_document(text.encode(), "").data, tmp_path)
    assert str(error.value) == told
