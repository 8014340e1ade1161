"""Evaluation: values recomputed by hand, intervals that cover, errors that say what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from rag_graph.data.parcels import make_parcels
from rag_graph.errors import DataError
from rag_graph.evaluation.evaluate import evaluate, gain_between
from rag_graph.evaluation.example_intervals import example_mean, stratified_mean
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import METRIC_NAMES, Asked, Episode, Example

SCORER = NodeScorer(load_graph("parcels"))


def always(text: str) -> object:
    def answer(examples: Sequence[Example]) -> list[Episode]:
        return [Episode(example.id, example, "", text) for example in examples]

    return answer


EXAMPLES = [
    Example(str(i), "topic", {"input": f"passage {i}"}, (label,))
    for i, label in enumerate(["kitchen", "audio", "kitchen", "sport"])
]


def test_values_by_hand() -> None:
    evaluation = evaluate(always("kitchen"), EXAMPLES, SCORER, "abc")  # type: ignore[arg-type]
    found = {result.metric: result for result in evaluation.results}
    assert found["accuracy"].value == 0.5
    assert found["accuracy"].n == 4
    assert found["accuracy"].config_hash == "abc"
    assert found["macro_f1"].value == pytest.approx((2 / 3) / 3), "kitchen of the three labels that occur"
    assert evaluation.task_scores == {"topic": [1.0, 0.0, 1.0, 0.0]}
    assert evaluation.units == {"topic": ["passage 0", "passage 1", "passage 2", "passage 3"]}
    assert evaluation.mean_task_score == example_mean([1.0, 0.0, 1.0, 0.0])
    assert (found["accuracy"].low, found["accuracy"].high) == evaluation.mean_task_score[1:]
    assert evaluation.episodes[0].scores["well_formed"] == 1.0


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(DataError, match="no example to evaluate on"):
        evaluate(always("x"), [], SCORER)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no example has a reference"):
        evaluate(always("x"), [Example("1", "topic", {"input": "x"})], SCORER)  # type: ignore[arg-type]


def test_a_task_without_kind_reports_its_own_metrics_alone() -> None:
    graph = AuxiliaryGraph.build({"t": {"metrics": {"exact_match": 1, "token_f1": 0}}, "u": {}})
    scorer = NodeScorer(graph, scorers={"u": lambda episode: 0.25})
    examples = [Example("1", "t", {"input": "x"}, ("kettle",)), Example("2", "u", {"input": "y"}, ("a",))]
    evaluation = evaluate(always("red kettle"), examples, scorer)  # type: ignore[arg-type]
    assert [(r.task, r.metric, r.value) for r in evaluation.results] == [
        ("t", "exact_match", 0.0),
        ("t", "token_f1", pytest.approx(2 / 3)),
    ]
    assert evaluation.task_scores == {"t": [0.0], "u": [0.25]}


def test_a_perfect_answer_sheet_scores_one_with_a_bound_below_it() -> None:
    right = {example.id: example.references[0] for example in EXAMPLES}

    def answer(examples: Sequence[Example]) -> list[Episode]:
        return [Episode(example.id, example, "", right[example.id]) for example in examples]

    for result in evaluate(answer, EXAMPLES, SCORER).results:
        assert result.value == result.high == 1.0, result.metric
        assert 0 < result.low < 1, "four answers prove little"


def test_a_passage_of_which_two_tasks_ask_is_one_unit() -> None:
    made = [one.example for one in make_parcels("test", 12, 0) if one.example.task in ("topic", "sentiment")]
    evaluation = evaluate(always("positive"), made, SCORER)  # type: ignore[arg-type]
    scores, units = evaluation.task_scores, evaluation.units
    assert units["topic"] == units["sentiment"] == [f"test/{k}" for k in range(12)]
    assert evaluation.mean_task_score == stratified_mean(scores, units) != stratified_mean(scores)


@pytest.mark.parametrize("metric", sorted(set(METRIC_NAMES) - {"external", "judge", "label_preserved", "macro_f1"}))
def test_a_metric_and_the_task_score_that_stands_on_it_are_one_number(metric: str) -> None:
    """In every script, for right, partly right, wrong and empty answers; what is not comparable is missing from both."""
    texts = [
        "the red kettle",
        "奥斯陆是挪威的首都。",
        "オスロは首都",
        "ออสโลเป็นเมือง",
        "오슬로는 수도",
        "أوسلو عاصمة",
        "ओस्लो है",
        "Осло",
        "İstanbul",
        "Straße",
        "👍🏽",
        "+",
        "1/2",
    ]
    examples = [Example(str(i), "t", {"input": text}, (text,)) for i, text in enumerate(texts)]
    examples += [Example(f"{i}/empty", "t", {"input": "x"}, (" ",)) for i in range(2)]
    args = {"kind": "generation", "goal": 1, "metrics": {metric: 1}, "prompt": "{input}"}
    spec = GraphSpec.model_validate({"format": 1, "name": "g", "tasks": {"t": args}})
    scorer = NodeScorer(AuxiliaryGraph(spec))
    for answered in (lambda text: text, lambda text: text[:3], lambda text: "other", lambda text: ""):

        def answer(examples: Sequence[Example], answered: Callable[[str], str] = answered) -> list[Episode]:
            return [Episode(example.id, example, "", answered(example.text)) for example in examples]

        evaluation = evaluate(answer, examples, scorer)
        (found,) = [result for result in evaluation.results if result.metric == metric]
        assert found.n == len(evaluation.task_scores["t"])
        assert found.value == pytest.approx(sum(evaluation.task_scores["t"]) / found.n)
        assert (found.low, found.high) == evaluation.mean_task_score[1:]


class Half:
    """A judge that cannot read some answers, and gives the others 4 of 5."""

    name = "half"

    def __init__(self, *unread: str) -> None:
        self.unread = unread

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        return [
            Verdict(None, failure="timeout", detail="no answer")
            if question.episode.id in self.unread
            else Verdict(0.75, Asked(money=0.5, requests=1))
            for question in questions
        ]

    def show(self, question: Question) -> str:
        return question.text


JUDGED = AuxiliaryGraph.build(
    {"reply": {"metrics": {"judge": 1.0}, "args": {"question": "Does it help?"}, "kind": "generation"}}
)
UNANSWERED = [Example(str(number), "reply", {"input": f"passage {number}"}) for number in range(4)]


def test_a_judge_needs_no_reference_and_what_it_cannot_say_is_counted() -> None:
    found = evaluate(always("x"), UNANSWERED, NodeScorer(JUDGED, judges={"half": Half("1")}))  # type: ignore[arg-type]
    assert found.task_scores == {"reply": [0.75] * 3}
    assert found.missing == {"reply": 1}
    assert [(r.metric, r.value, r.n) for r in found.results] == [("judge", 0.75, 3)]
    assert found.costs["judge/cost"] == 1.5
    assert found.costs["judge/failed/timeout"] == 1


def test_a_gain_is_over_the_examples_that_have_both_scores() -> None:
    before, after, none = (
        evaluate(always("x"), UNANSWERED, NodeScorer(JUDGED, judges={"half": Half(*unread)}))  # type: ignore[arg-type]
        for unread in ("1", "23", "0123")
    )
    after = replace(after, episodes=tuple(e.with_scores(dict.fromkeys(e.scores, 1.0)) for e in after.episodes))
    assert gain_between(before, after).mean == pytest.approx(0.25)  # of example 0 alone
    assert none.task_scores == {}
    assert math.isnan(none.mean_task_score.mean)
    assert math.isnan(gain_between(before, none).mean)
