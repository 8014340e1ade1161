"""The score of a rubric by hand: weights, what to avoid, gaps, different numbers of items."""

from __future__ import annotations

import pytest

from rag_graph.errors import DataError
from rag_graph.evaluation.rubric import asked_about, contributions, folded, of_items, rubric_score, score_of_row
from rag_graph.records import Episode, Example, Item

CITY, POLITE, RUDE = Item("names the city", 3.0), Item("is polite", 1.0), Item("is rude", -2.0)


def answer(*items: Item) -> Episode:
    return Episode("1", Example("e", "t", {"input": "x"}, items={"rubric": items}), "p", "r")


def test_scores_by_hand() -> None:
    items = [CITY, POLITE, RUDE]
    assert rubric_score(items, [1, 1, 0]) == 1.0
    assert rubric_score(items, [1, 0, 0]) == 0.75
    assert rubric_score(items, [1, 0.5, 1]) == pytest.approx((3 + 0.5 - 2) / 4)
    assert rubric_score(items, [0, 1, 1]) == 0.0, "(1 - 2) / 4 is below 0"
    assert contributions(items, [0, 1, 1]) == [0, 0.25, -0.5]
    assert rubric_score([POLITE], [0.25]) == 0.25


def test_over_the_items_that_were_observed() -> None:
    items = [CITY, POLITE, RUDE]
    assert rubric_score(items, [None, 1, 0]) == 1.0
    assert rubric_score(items, [1, None, 0.5]) == pytest.approx((3 - 1) / 3)
    assert contributions(items, [1, None, 0.5]) == pytest.approx([1, 0, -1 / 3])
    assert rubric_score(items, [None, None, 1]) is None, "nothing that is wanted was observed"
    assert rubric_score(items, [None, None, None]) is None
    assert rubric_score([], []) is None


def test_lists_are_folded_and_numbers_stay() -> None:
    episode = answer(CITY, RUDE)
    plain, items = folded(episode, {"t": 0.5, "rubric": [1, None]})
    assert (plain, items) == ({"t": 0.5, "rubric": 1.0}, {"rubric": (1.0, None)})
    assert folded(episode, {"rubric": 0.25}) == ({"rubric": 0.25}, {})
    assert folded(episode, {"rubric": [None, 1]}) == ({}, {"rubric": (None, 1.0)})


def test_what_is_no_score_of_the_items_is_said() -> None:
    items = (CITY, RUDE)
    told = "node 'rubric': 1 scores for the 2 items of example 'e'. Give one for each item"
    with pytest.raises(DataError, match=told):
        folded(answer(*items), {"rubric": [1]})
    for wrong in (3, -0.1, "yes", [1]):
        with pytest.raises(
            DataError,
            match="node 'rubric', item 'is rude': .* is no score. A score is a number from 0 to 1; the weight",
        ):
            of_items([1, wrong], items, "rubric", "x")
    assert of_items([True, float("nan")], items, "rubric", "x") == (1.0, None)


def test_a_row_of_a_table_has_the_rubric_and_its_scores() -> None:
    row = {"goals": [{"criterion": "a", "weight": 3}, {"criterion": "b", "weight": 1}]}
    assert score_of_row([0.5, 1], row, "goals", "rubric", "t.jsonl:1") == pytest.approx(2.5 / 4)
    assert score_of_row([None, None], row, "goals", "rubric", "t.jsonl:1") is None
    with pytest.raises(DataError, match="node 'rubric': 3 scores for the 2 items of t.jsonl:1"):
        score_of_row([0, 0, 0], row, "goals", "rubric", "t.jsonl:1")


def test_one_item_is_asked_about_as_a_column() -> None:
    assert dict(asked_about(answer(CITY), CITY).columns) == {"item": "names the city", "item_weight": 3.0}
