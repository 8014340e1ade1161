"""Which questions share a request."""

from __future__ import annotations

from collections.abc import Callable

from rag_graph.evaluation.judging import Question
from rag_graph.judges.prompt import TEMPLATE
from rag_graph.judges.requests import requests_for

Ask = Callable[..., Question]


def test_equal_questions_are_asked_once(ask: Ask) -> None:
    found = requests_for([ask("a"), ask("b"), ask("a", node="other"), ask("a", "Is it true?")], TEMPLATE)
    assert [(one.shape, one.places) for one in found] == [("mark", [[0, 2]]), ("mark", [[1]]), ("mark", [[3]])]


def test_questions_about_one_answer_share_a_request(ask: Ask) -> None:
    questions = [ask("a"), ask("b"), ask("a", "True?"), ask("a", "Right?", reference="x"), ask("a", prompt="Other?")]
    found = requests_for(questions, TEMPLATE, together=True)
    assert [(one.shape, one.places) for one in found] == [
        ("marks", [[0], [2]]),
        ("mark", [[1]]),
        ("mark", [[3]]),
        ("mark", [[4]]),
    ]
    assert ["REFERENCE" in one.text for one in found] == [False, False, True, False]  # nobody sees it who may not


def test_answers_to_one_prompt_are_ranked_by_each_question(ask: Ask) -> None:
    questions = [ask("a"), ask("b"), ask("a"), ask("a", "True?"), ask("b", "True?"), ask("c", prompt="Other?")]
    found = requests_for(questions, TEMPLATE, rank=True)
    assert [(one.shape, sorted(one.places)) for one in found] == [
        ("ranking", [[0, 2], [1]]),
        ("ranking", [[3], [4]]),
        ("mark", [[5]]),
    ]


def test_the_order_of_answers_says_nothing_of_where_they_came_from(ask: Ask) -> None:
    (one,) = requests_for([ask("a"), ask("b"), ask("c")], TEMPLATE, rank=True)
    (other,) = requests_for([ask("c"), ask("b"), ask("a")], TEMPLATE, rank=True)
    assert one.text == other.text
    assert [place for (place,) in one.places] == [2 - place for (place,) in other.places]
