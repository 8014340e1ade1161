"""The tutorial's failure: on held-out prompts one answer to all, while the mean rises; and runs in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rag_graph.evaluation.evaluate import Evaluation
from rag_graph.records import Episode, Example
from rag_graph.reward.alarms import Alarms
from rag_graph.reward.held_out_alarms import compare_held_out

THINGS = ["invoice", "refund", "charge", "parcel", "courier", "delivery", "password", "login", "account"]
BANDS: dict[str, tuple[int, int | None]] = {"reply": (3, 5)}
Answer = Callable[[str, int], tuple[str, float]]


def evaluation(answer: Answer, number: int = 60, references: bool = True) -> Evaluation:
    things = [THINGS[n] for n in np.random.default_rng(0).integers(len(THINGS), size=number)]
    episodes = []
    for row, thing in enumerate(things):
        response, score = answer(thing, row)
        reference = (f"sorry about the {thing}",) if references else ()
        example = Example(f"reply/{row}", "reply", {"input": f"my {thing} got lost {row}"}, reference)
        episodes.append(Episode(example.id, example, example.text, response, scores={"reply": score}))
    return Evaluation(
        (), tuple(episodes), {"reply": [e.scores["reply"] for e in episodes]}, {"reply": [e.id for e in episodes]}
    )


def right(thing: str, row: int) -> tuple[str, float]:
    return f"sorry about the {thing}", 1.0


def half(thing: str, row: int) -> tuple[str, float]:
    return f"sorry about the {thing if row % 2 else THINGS[row % 9]}", 1.0 if row % 2 else 0.75


def collapsed(thing: str, row: int) -> tuple[str, float]:
    return "sorry about the", 0.857


def compared(before: Answer, after: Answer, references: bool = True, number: int = 60) -> list[dict[str, object]]:
    alarms = Alarms(["reply", "team"])
    parts = (evaluation(one, number, references) for one in (before, after))
    messages = compare_held_out(alarms, 60, *parts, BANDS)
    assert messages == [f"{entry['alarm']}: {entry['seen']}" for entry in alarms.history]
    return alarms.history


def test_one_answer_to_all_prompts_sets_off_identical_and_length() -> None:
    for before, references in ((half, True), (half, False), (collapsed, True)):
        found = compared(before, collapsed, references)
        assert [one["alarm"] for one in found] == ["identical", "length"], (before, references)
        assert found[0]["part"] == "after"
        assert [example["response"] for example in found[0]["examples"]] == ["sorry about the"] * 2  # type: ignore[attr-defined]
        assert len(set(found[0]["episodes"])) == 8  # type: ignore[call-overload]
        assert ("the references" in str(found[0]["seen"])) == references


def test_a_score_that_falls_is_told_with_the_mean_and_the_answers() -> None:
    def worse(thing: str, row: int) -> tuple[str, float]:
        return (right if row % 5 else half)(thing, row)[0], 0.0 if row % 5 == 0 else 1.0

    (entry,) = compared(right, worse, number=200)
    assert entry["alarm"] == "goal_falls"
    assert (
        entry["seen"]
        == "the held-out score of reply was 1.000 before training and is 0.800; the mean over tasks went from 1.000 to 0.800"
    )
    assert set(entry["episodes"]) <= {f"reply/{row}" for row in range(0, 200, 5)}  # type: ignore[call-overload]


def test_nothing_goes_on_where_nothing_is_wrong() -> None:
    def other_half(thing: str, row: int) -> tuple[str, float]:
        return half(thing, row + 1)

    for before, after in ((right, right), (half, right), (half, other_half), (collapsed, right)):
        assert compared(before, after) == [], (before, after)
