"""What retrieval was worth, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rag_graph.evaluation.example_intervals import example_mean, paired_difference
from rag_graph.rag.retrieval_report import holds_answer, retrieval_metrics, retrieval_report, shown_shares
from rag_graph.records import ContextNode, Episode, Evidence, Example


def piece(name: str, text: str = "", ranked: bool = True) -> Evidence:
    return Evidence(ContextNode(f"notes/{name}", "notes", "", text), 1.0, 1, {"bm25": 1.0} if ranked else {})


NAMED = Example("n", "t", {"input": "x"}, ("oslo",), supporting=("a", "b"))
WORDS = Example("w", "t", {"input": "x"}, ("Red Kettle", "blue mixer"))


def test_the_named_passage_decides() -> None:
    assert holds_answer(NAMED, [piece("c"), piece("b")], extracted=False) is True
    assert holds_answer(NAMED, [piece("c", "oslo")], extracted=True) is False, (
        "the words of another passage do not count"
    )
    assert holds_answer(NAMED, [], extracted=True) is False


def test_without_names_one_passage_must_hold_every_word() -> None:
    assert holds_answer(WORDS, [piece("c", "a kettle , red .")], extracted=True) is True
    assert holds_answer(WORDS, [piece("c", "red"), piece("d", "kettle")], extracted=True) is False
    assert holds_answer(WORDS, [piece("c", "red kettle")], extracted=False) is None, "answers are no words of a text"
    assert holds_answer(Example("e", "t", {}), [piece("c")], extracted=True) is None
    assert holds_answer(Example("e", "t", {}, ("?",)), [piece("c", "a")], extracted=True) is False


def test_hits_and_recall_are_of_what_was_ranked() -> None:
    shown = [
        (NAMED, [piece("guide", ranked=False), piece("a"), piece("c"), piece("b")]),  # a hit, both found
        (NAMED, [piece("c"), piece("b")]),  # no hit, one of two
        (NAMED, []),
        (WORDS, [piece("a")]),  # nothing is named
    ]
    assert retrieval_metrics(shown) == {"retrieval/hit@1": pytest.approx(1 / 3), "retrieval/recall": pytest.approx(0.5)}
    assert retrieval_metrics(shown[3:]) == {}


class Pool:
    """Ranks for task `t`; the input alone finds `a` for the second example only."""

    def ranks(self, task: str) -> bool:
        return task == "t"

    def retrieve(self, task: str, queries: list[str], exclude: list[str]) -> list[list[Evidence]]:
        assert queries == ["x"], "without the draft"
        return [[piece("a" if exclude == ["2"] else "c")]]


def pipeline(pool: Any, draft: bool) -> Any:
    tasks = {name: SimpleNamespace(kind="generation") for name in ("t", "free")}
    graph = SimpleNamespace(spec=SimpleNamespace(tasks=tasks))
    whole = lambda examples, found: [SimpleNamespace(evidence=tuple(pieces)) for pieces in found]  # noqa: E731
    return SimpleNamespace(pool=pool, graph=graph, config=SimpleNamespace(draft=draft), fit=whole)


def episode(name: str, found: str, score: float | None, task: str = "t", unit: str = "") -> Episode:
    example = Example(name, task, {"input": "x"}, supporting=("a",), unit=unit)
    return Episode(name, example, "p", "r", "d", (piece(found),), {} if score is None else {task: score})


EPISODES = [
    episode("1", "a", 0.25, unit="p"),
    episode("2", "a", 0.75, unit="p"),
    episode("3", "a", None, unit="q"),
    episode("4", "c", 0.0, unit="r"),
    episode("5", "a", 0.0, task="free"),
]


def test_a_report_by_hand() -> None:
    report = retrieval_report(pipeline(Pool(), draft=True), EPISODES)
    assert report is not None
    assert report["episodes"] == 4, "the task without retrieval is left out"
    assert report["answer_in_evidence"]["mean"] == 0.75
    assert report["not_used"]["mean"] == 0.5, "of the two that were scored and held the answer, one fails"
    assert report["retrieval/hit@1"] == report["retrieval/recall"] == 0.75
    assert report["by_input_alone"]["mean"] == 0.25
    assert report["gain_of_draft"]["mean"] == 0.5
    alone, drafted = [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]
    assert report["answer_in_evidence"] == example_mean(drafted, ["p", "p", "q", "r"])._asdict()
    assert report["not_used"] == example_mean([1.0, 0.0], ["p", "p"])._asdict()
    change = paired_difference({"": alone}, {"": drafted}, {"": ["p", "p", "q", "r"]})
    assert report["gain_of_draft"] == change._asdict()
    plain = retrieval_report(pipeline(Pool(), draft=False), EPISODES)
    assert plain is not None
    assert set(report) - set(plain) == {"by_input_alone", "gain_of_draft"}


def test_nothing_to_report() -> None:
    assert retrieval_report(pipeline(None, draft=True), EPISODES) is None
    assert retrieval_report(pipeline(Pool(), draft=True), EPISODES[4:]) is None
    unscored = retrieval_report(pipeline(Pool(), draft=False), EPISODES[2:3])
    assert unscored is not None
    assert "not_used" not in unscored


def test_what_prompts_left_out_is_counted() -> None:
    class Pool:
        def ranks(self, task: str) -> bool:
            return task == "t"

        def is_pinned(self, piece: Evidence) -> bool:
            return piece.context.node == "guide"

    def piece(node: str, left_out: int = 0) -> Evidence:
        return Evidence(ContextNode(node, node, "", "text"), 1.0, 1, {}, "", left_out)

    def asked(task: str) -> Example:
        return Example("1", task, {"input": "x"})

    pool: Any = Pool()
    shown = [
        (asked("t"), (piece("guide"),), False),
        (asked("t"), (piece("guide"), piece("notes")), False),
        (asked("t"), (piece("notes"), piece("notes", 7)), True),
        (asked("t"), (), True),
        (asked("u"), (), False),
    ]
    assert shown_shares(pool, shown) == {"without_evidence": 0.5, "cut_evidence": 0.25, "cut_prompts": 0.4}
    assert shown_shares(pool, shown[4:]) == {"cut_prompts": 0.0}
    assert shown_shares(None, shown) == {"cut_prompts": 0.4}, "without retrieval no evidence is missed"
    assert shown_shares(pool, []) == {}
