"""Prompts that are too long: evidence goes first, then the middle of the input; the question and the template stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rag_graph.config import RetrievalConfig
from rag_graph.errors import DataError
from rag_graph.generation.tokens import TokenRoom
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec
from rag_graph.rag.budget import count_in_words
from rag_graph.rag.context_pool import ContextPool
from rag_graph.rag.fitting import PromptFitter, Shown
from rag_graph.records import ContextNode, Evidence, Example

GRAPH = AuxiliaryGraph(
    GraphSpec.model_validate(
        {
            "format": 1,
            "name": "g",
            "tasks": {"t": {"kind": "generation", "metrics": {"bleu": 1}, "prompt": "{context}\nText: {input}\nQ: {question}\nShort answer:"}},
            "contexts": {
                "notes": {"kind": "passages", "file": "n"},
                "guide": {"kind": "guideline", "text": "be brief"},
                "solved": {"kind": "exemplars", "of": "t"},
            },
            "edges": [{"from": name, "to": "t", "relation": "grounds"} for name in ("notes", "guide", "solved")],
        }
    )
)  # fmt: skip
NODES = [
    ContextNode("g", "guide", "", "be brief"),
    ContextNode("a", "notes", "", "One two three. Four five six."),
    ContextNode("b", "notes", "", "Seven eight. Nine ten."),
    ContextNode("s", "solved", "", "A solved one. yes"),
]
EXAMPLE = Example("1", "t", {"input": "a b c d e f g h", "question": "who won ?"})
BARE = "Text: a b c d e f g h\nQ: who won ?\nShort answer:"


@pytest.fixture(scope="module")
def pool() -> ContextPool:
    return ContextPool(GRAPH, NODES, RetrievalConfig(k=3, token_budget=100))


def evidence(*names: str) -> tuple[Evidence, ...]:
    by_name = {node.id: node for node in NODES}
    return tuple(Evidence(by_name[name], 1.0, rank, {}, "why") for rank, name in enumerate(names, 1))


def fit(pool: ContextPool | None, most: int, pieces: Sequence[Evidence], example: Example = EXAMPLE) -> Shown:
    (shown,) = PromptFitter(GRAPH.spec.tasks, pool, TokenRoom(count_in_words, most))([example], [pieces])
    assert count_in_words([shown.prompt])[0] <= most
    assert tuple(piece.rank for piece in shown.evidence) == tuple(range(1, len(shown.evidence) + 1))
    return shown


def texts(shown: Shown) -> list[str]:
    return [piece.context.text for piece in shown.evidence]


def test_what_fits_stays(pool: ContextPool) -> None:
    pieces = evidence("g", "a", "b")
    shown = fit(pool, 27, pieces)
    assert shown == Shown(f"be brief\nOne two three. Four five six.\nSeven eight. Nine ten.\n{BARE}", pieces, False)
    endless = PromptFitter(GRAPH.spec.tasks, pool, None)
    assert endless([EXAMPLE], [pieces]) == [shown]


@pytest.mark.parametrize(
    ("most", "left"),
    [
        (26, ["be brief", "One two three. Four five six.", "Seven eight."]),
        (24, ["be brief", "One two three. Four five six."]),
        (22, ["be brief", "One two three."]),
        (19, ["be brief", "One two"]),
        (17, ["be brief"]),
        (16, []),
        (15, []),
    ],
)
def test_evidence_goes_first_the_last_passage_first_of_all(pool: ContextPool, most: int, left: list[str]) -> None:
    shown = fit(pool, most, evidence("g", "a", "b"))
    assert texts(shown) == left
    assert shown.cut
    assert shown.prompt == "\n".join([*left, BARE]), "the evidence of an episode is what its prompt holds"


def test_an_exemplar_goes_whole(pool: ContextPool) -> None:
    assert texts(fit(pool, 18, evidence("s"))) == []
    assert texts(fit(pool, 19, evidence("s"))) == ["A solved one. yes"]


def test_then_the_middle_of_the_input(pool: ContextPool) -> None:
    shown = fit(pool, 12, evidence("g", "a"))
    assert shown == Shown("Text: a b ... g h\nQ: who won ?\nShort answer:", (), True)
    assert fit(None, 12, ()).prompt == shown.prompt, "without retrieval as well"
    chinese = fit(None, 100, (), Example("1", "t", {"input": "奥斯陆是挪威的首都。" * 20, "question": "首都是哪里？"}))
    assert chinese.prompt.startswith("Text: 奥斯陆是挪威的首都。")
    assert chinese.prompt.endswith("的首都。\nQ: 首都是哪里？\nShort answer:")
    assert " ... " in chinese.prompt


def test_the_question_goes_last_of_all(pool: ContextPool) -> None:
    long = Example("1", "t", {"input": "a b c d", "question": "who won the cup in the year of the flood ?"})
    assert fit(pool, 11, evidence("a"), long).prompt == "Text: \nQ: who won the ... the flood ?\nShort answer:"
    assert (
        fit(pool, 18, evidence("a"), long).prompt
        == "Text: a ... d\nQ: who won the cup in the year of the flood ?\nShort answer:"
    )


def test_a_template_that_is_too_long_is_an_error(pool: ContextPool) -> None:
    with pytest.raises(
        DataError,
        match=r"task 't': its prompt takes 4 tokens without evidence and fields, and there is room for 3. Raise",
    ):
        fit(pool, 3, evidence("a"))


def test_tokens_of_the_policy_are_counted(pool: ContextPool, tiny_model: Any) -> None:
    from rag_graph.generation.tokens import encode_prompts, token_room

    _, tokenizer = tiny_model(1)
    examples = [EXAMPLE, Example("2", "t", {"input": "奥斯陆" * 50, "question": "who ?"})]
    shown = PromptFitter(GRAPH.spec.tasks, pool, token_room(tokenizer, 90))(
        examples, [evidence("g", "a", "b"), evidence("a")]
    )
    lengths = [len(ids) for ids in encode_prompts(tokenizer, [one.prompt for one in shown], 1000)]
    assert max(lengths) <= 90
    assert [one.cut for one in shown] == [True, True]
    assert all(one.prompt.endswith("Short answer:") for one in shown)
