"""A node with metric judge asks its judge, and what a judge cannot say is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag_graph.errors import ConfigError
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Asked, Episode, Example

GRAPH = AuxiliaryGraph.build(
    name="judged",
    tasks={"reply": {"goal": 1.0, "metrics": {"judge": 1.0}, "args": {"question": "Is it right?", "reference": True}}},
    criteria={"kind": {"metric": "judge", "args": {"question": "Is it kind?", "scale": [0, 10]}}},
    edges=[("kind", "reply", "indicates")],
)


class Marks:
    """A judge that gives every question the same mark, or fails."""

    name = "marks"

    def __init__(self, mark: float, failure: bool = False) -> None:
        self.mark, self.failure = mark, failure
        self.asked: list[Sequence[Question]] = []

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        self.asked.append(questions)
        if self.failure:
            return [Verdict(None, failure="timeout", detail="no answer in 60 s") for _ in questions]
        return [Verdict((self.mark - q.low) / (q.high - q.low), Asked(money=0.5, tokens_in=3)) for q in questions]

    def show(self, question: Question) -> str:
        return question.text


def episode(reference: str = "yes") -> Episode:
    example = Example("1", "reply", {"input": "Well?"}, (reference,) if reference else ())
    return Episode("1", example, "Well?", "Yes.")


def test_all_questions_of_a_batch_reach_the_judge_at_once() -> None:
    judge = Marks(4)
    found = NodeScorer(GRAPH, judges={"marks": judge}).score_all([episode(), episode("")])
    assert [dict(one) for one in found] == [{"reply": 0.75, "kind": 0.4}, {"kind": 0.4}]
    assert [[(q.node, q.reference) for q in asked] for asked in judge.asked] == [
        [("reply", "yes"), ("kind", None), ("kind", None)]
    ]
    assert found[0].asked == {"reply": Asked(money=0.5, tokens_in=3), "kind": Asked(money=0.5, tokens_in=3)}


def test_a_judge_that_fails_gives_missing_scores() -> None:
    (found,) = NodeScorer(GRAPH, judges={"marks": Marks(4, failure=True)}).score_all([episode()])
    assert dict(found) == {}
    assert found.failed == {"reply": "timeout: no answer in 60 s", "kind": "timeout: no answer in 60 s"}


def test_a_node_without_a_judge_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match="node 'reply' asks a judge .* Name one in the config under `judges`"):
        NodeScorer(GRAPH).require_all()
    two = {"a": Marks(1), "b": Marks(2)}
    with pytest.raises(ConfigError, match=r"names no judge. Write args: \{judge: NAME\}, one of a, b"):
        NodeScorer(GRAPH, judges=two).require_all()
