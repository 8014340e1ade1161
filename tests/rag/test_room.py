"""What will not fit is said before a run, with the setting to change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rag_graph.config import RetrievalConfig
from rag_graph.errors import DataError
from rag_graph.generation.tokens import TokenRoom
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec
from rag_graph.rag import ContextPool, RagPipeline
from rag_graph.rag.budget import count_in_words
from rag_graph.rag.room import room_warnings
from rag_graph.records import ContextNode, Example

EXAMPLES = [Example(str(i), "t", {"input": "one two three"}) for i in range(3)]


def silent(prompts: Sequence[str]) -> list[object]:
    raise AssertionError


@pytest.fixture
def warned() -> Callable[..., list[str]]:
    def warnings(
        texts: list[str], budget: int = 100, most: int = 100, kind: str = "passages", examples: list[Example] = EXAMPLES
    ) -> list[str]:
        about = {"passages": {"file": "n"}, "exemplars": {"of": "t"}}[kind]
        spec = {
            "format": 1,
            "name": "g",
            "tasks": {"t": {"kind": "generation", "metrics": {"bleu": 1}, "prompt": "{context} {input} answer"}},
            "contexts": {"notes": {"kind": kind, **about}, "guide": {"kind": "guideline", "text": "be brief"}},
            "edges": [{"from": name, "to": "t", "relation": "grounds"} for name in ("notes", "guide")],
        }
        graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
        nodes = [ContextNode("g", "guide", "", "be brief")]
        nodes += [ContextNode(str(i), "notes", "", text) for i, text in enumerate(texts)]
        config = RetrievalConfig(token_budget=budget, k=2)
        pool = ContextPool(graph, nodes, config, count=count_in_words)
        return room_warnings(RagPipeline(graph, pool, config, silent, TokenRoom(count_in_words, most)), examples)  # type: ignore[arg-type]

    return warnings


def test_nothing_is_said_where_all_fits(warned: Callable[..., list[str]]) -> None:
    assert warned(["A short one."] * 3) == []
    assert warned([], examples=[]) == []


def test_passages_that_no_prompt_has_room_for(warned: Callable[..., list[str]]) -> None:
    (said,) = warned(["A text of six words here."] * 3, budget=2)
    assert said == (
        "task 't': no passage can be shown: retrieval.token_budget 2 has room for 0 tokens beside the guidelines, and the shortest of 3 passages has "
        "6. Every episode will be without evidence. Set retrieval.token_budget to 8 or more."
    )
    (said,) = warned(["A text of six words. here"] * 3, budget=7, kind="exemplars")
    assert "no passage can be shown" in said


def test_passages_that_are_cut(warned: Callable[..., list[str]]) -> None:
    (said,) = warned(["Two words.", "Two words. And five more of them."], budget=6)
    assert said.startswith(
        "task 't': of 2 passages 1 are cut at the end of a sentence or word: retrieval.token_budget 6"
    )


def test_prompts_that_are_too_long(warned: Callable[..., list[str]]) -> None:
    long = [*EXAMPLES, Example("9", "t", {"input": "word " * 50})]
    (said,) = warned(["Two words."], most=20, examples=long)
    assert said.startswith("task 't': 1 of 4 prompts are too long without any evidence: they have up to 51 tokens")
    said = warned(["Two words."], most=4)[-1]
    assert said.startswith("task 't': no prompt has room for evidence: model.max_prompt_tokens leaves 4.")
    (said,) = warned(["A text of six words here."] * 3, most=10)
    assert "half of the prompts have room for 6 tokens of evidence or less, and 2 usual passages have 12" in said
    with pytest.raises(DataError, match="Raise model.max_prompt_tokens"):
        warned(["Two words."], most=0)
