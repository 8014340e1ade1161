"""A node with metric judge asks its judge, and what a judge cannot say is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag_graph.errors import ConfigError, DataError
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


def test_judges_that_call_themselves_the_same_are_asked_for_themselves() -> None:
    graph = AuxiliaryGraph.build(
        name="two",
        tasks={"reply": {"goal": 1.0, "metrics": {"judge": 1.0}, "args": {"question": "Right?", "judge": "good"}}},
        criteria={"kind": {"metric": "judge", "args": {"question": "Kind?", "judge": "bad"}}},
        edges=[("kind", "reply", "indicates")],
    )
    (found,) = NodeScorer(graph, judges={"good": Marks(5), "bad": Marks(1)}).score_all([episode()])
    assert dict(found) == {"reply": 1.0, "kind": 0.0}


@pytest.mark.parametrize("mark", [29.0, -3.0, float("nan"), float("inf")])
def test_a_score_that_is_none_is_missing_and_counted(mark: float) -> None:
    (found,) = NodeScorer(GRAPH, judges={"marks": Marks(mark)}).score_all([episode()])
    assert dict(found) == {}
    assert found.asked["kind"].failures == ("out_of_scale",)
    assert "is not in [0, 1]" in found.failed["kind"]


def test_a_judge_gives_one_verdict_per_question() -> None:
    class Short(Marks):
        def judge(self, questions: Sequence[Question]) -> list[Verdict]:
            return super().judge(questions)[1:]

    with pytest.raises(DataError, match="judge 'marks' was asked 2 questions and gave 1 verdicts"):
        NodeScorer(GRAPH, judges={"marks": Short(3)}).score_all([episode()])
