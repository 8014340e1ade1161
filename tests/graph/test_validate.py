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


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [("Classify {input} # one word", True), ("Ticket #{input}", True), ("Ticket#{input}", False), ('"Ticket #{input}"  # asks', False)],
)  # fmt: skip
def test_a_prompt_that_a_comment_cuts_is_refused(tmp_path: Path, prompt: str, cut: bool) -> None:
    text = f"format: 1\nname: g\ntasks:\n  t:  # a task\n    title: A title  # shown\n    fields: {{input: a, reference: b}}\n    prompt: {prompt}\n"
    (tmp_path / "g.yaml").write_text(text)
    found = [str(problem) for problem in read_spec(tmp_path / "g.yaml", tmp_path).problems]
    assert (
        any(
            "a '#' after a space begins a comment, so the prompt ends before it. Put the prompt in quotes." in one
            for one in found
        )
        == cut
    )
    assert cut or not found
