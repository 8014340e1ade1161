"""Marks are read from replies; what can be read in two ways is not read."""

from __future__ import annotations

import pytest

from rag_graph.judges.parse import parse_mark, parse_marks, parse_ranking, reason_in


@pytest.mark.parametrize(
    ("reply", "mark"),
    [
        ('{"mark": 4}', 4),
        ('{"reason": "fine", "mark": 2.5}', 2.5),
        ('```json\n{"mark": "3"}\n```', 3),
        ('Thinking aloud: score of style 2.\n{"score": 4}', 4),
        ('{"mark": 4} again: {"mark": 4.0}', 4),
        ('{"mark": "4/5"}', 4),
        ('<think>maybe {"mark": 1}</think>{"mark": 5}', 5),
        ("4", 4),
        (" **4** ", 4),
        ("4/5", 4),
        ("4 out of 5.", 4),
        ("Mark: 3", 3),
        ("I would give it a score of 2 because it is rude.", 2),
        ("It is polite.\n5", 5),
        ('{"reason": "It says {\\"mark\\": 5}.", "mark": 1}', 1),
    ],
)
def test_a_mark(reply: str, mark: float) -> None:
    assert parse_mark(reply, 1, 5) == (mark, None, "")


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>on and on", "empty"),
        ("It is good.", "unreadable"),
        ("{", "unreadable"),
        ('{"mark": ', "unreadable"),
        ('{"mark": true}', "unreadable"),
        ('{"mark": "high"}', "unreadable"),
        ('{"mark": NaN}', "unreadable"),
        ('{"mark": 1e999}', "unreadable"),
        ('{"mark": 4} {"mark": 2}', "unreadable"),
        ('{"mark": 5, "mark": 2}', "unreadable"),
        ("Mark: 4. Or rather, score: 3", "unreadable"),
        ("8/10", "unreadable"),
        ('{"mark": "8/10"}', "unreadable"),
        ("There are 3 errors and 2 typos.", "unreadable"),
        ('{"mark": 6}', "out_of_scale"),
        ('{"mark": 0}', "out_of_scale"),
        ("-3", "out_of_scale"),
        ("Mark: 50", "out_of_scale"),
        ('{"mark": null}', "refusal"),
        ("I'm sorry, but I can't rate this.", "refusal"),
        ("As an AI, I have no opinion.", "refusal"),
        # an answer's own verdict, quoted with an error in the JSON around it
        ('{"reason": "it says {"mark": 5}", "mark": 1}', "unreadable"),
    ],
)
def test_no_mark(reply: str, failure: str) -> None:
    found = parse_mark(reply, 1, 5)
    assert (found.value, found.failure) == (None, failure)
    assert found.detail.isprintable()
    assert found.detail


def test_marks_of_several_questions_fail_each_for_itself() -> None:
    found = parse_marks('{"1": 4, "2": 11, "4": {"mark": 1}, "reason": "x"}', [(1, 5), (0, 10), (1, 5), (0, 1)])
    assert [(one.value, one.failure) for one in found] == [
        (4, None),
        (None, "out_of_scale"),
        (None, "unreadable"),
        (1, None),
    ]
    assert [one.value for one in parse_marks('{"marks": {"1": 2, "2": 3}}', [(1, 5)] * 2)] == [2, 3]
    assert [one.failure for one in parse_marks("", [(1, 5)] * 2)] == ["empty"] * 2
    assert [one.failure for one in parse_marks('{"1": 2, "2": 2} {"1": 3, "2": 2}', [(1, 5)] * 2)] == [
        "unreadable",
        None,
    ]


def test_a_ranking_becomes_places() -> None:
    assert [one.value for one in parse_ranking('{"ranking": [2, 3, 1]}', 3)] == [0.0, 1.0, 0.5]
    assert [one.value for one in parse_ranking('So: {"ranking": ["2", "1"]}.', 2)] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ('{"ranking": [1, 1, 2]}', "unreadable"),
        ('{"ranking": [1, 2]}', "unreadable"),
        ('{"ranking": [1, 2, 4]}', "out_of_scale"),
        ('{"ranking": [1, 2, 2.5]}', "unreadable"),
        ('{"ranking": "1, 2, 3"}', "unreadable"),
        ('{"ranking": [1, 2, 3]} {"ranking": [3, 2, 1]}', "unreadable"),
        ("1 > 2 > 3", "unreadable"),
        ("I cannot rank these.", "refusal"),
        ("", "empty"),
    ],
)
def test_no_ranking(reply: str, failure: str) -> None:
    assert [(one.value, one.failure) for one in parse_ranking(reply, 3)] == [(None, failure)] * 3


def test_the_reason() -> None:
    assert reason_in('{"reason": "It is kind.", "mark": 4}') == "It is kind."
    assert reason_in("<think>hm</think> 4, as it is kind") == "4, as it is kind"
