"""What the alarms look at, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import ContextNode, Episode, Evidence, Example
from rag_graph.reward.symptoms import Symptom, alikeness, at_bound, length_bands, symptoms, ungrounded


def episode(prompt: str, response: str, passage: str = "", task: str = "ask", reference: str = "") -> Episode:
    shown = (Evidence(ContextNode(f"c/{passage}", "c", "", passage), 1.0, 1),) if passage else ()
    example = Example(prompt, task, {"input": prompt}, (reference,) if reference else ())
    return Episode(f"1/{prompt}", example, prompt, response, evidence=shown)


def found(
    episodes: list[Episode], bands: dict[str, tuple[int, int | None]] | None = None
) -> dict[tuple[str, str], Symptom]:
    return {(one.alarm, one.of): one for one in symptoms(episodes, bands or {})}


def test_alikeness() -> None:
    assert alikeness("sorry about the parcel", "Sorry about the invoice!") == 0.75**2
    assert alikeness("the same", "same the") == 1.0
    assert alikeness("", " ") == 1.0
    assert alikeness("", "word") == 0.0


def test_only_answers_to_different_prompts_of_a_task_are_compared_and_none_twice() -> None:
    rows = [
        episode("a", "x", reference="x y"),
        episode("a", "x"),
        episode("b", "x", reference="p"),
        episode("c", "y"),
        episode("d", "z"),
        episode("e", "z"),
    ]
    other = replace(episode("f", "x"), example=Example("f", "other", {"input": "f"}))
    one = found([other, *rows])["identical", "ask"]
    assert [(a.prompt, b.prompt) for a, b in one.episodes] == [("a", "b"), ("c", "d")]
    assert one.values == [1.0, 0.0]
    assert one.references == [], "of a pair both are needed"
    assert found([other, *rows])["identical", "other"].values == []


def test_references_are_compared_as_the_answers_are() -> None:
    one = found([episode("a", "x", reference="p q"), episode("b", "x", reference="p r")])["identical", "ask"]
    assert (one.values, one.references) == ([1.0], [0.25])


def test_empty_is_what_has_no_word() -> None:
    assert found([episode("a", " ."), episode("b", "no")])["empty", ""].values == [1.0, 0.0]


def test_length_is_at_the_bound_of_its_criterion_or_cut_off() -> None:
    rows = [
        episode("a", "one two", reference="one two three"),
        episode("b", "one two three four five"),
        episode("c", "one two three"),
    ]
    assert found(rows, {"ask": (2, 5)})["length", "ask"].values == [1.0, 1.0, 0.0]
    assert found(rows, {"ask": (2, 5)})["length", "ask"].references == [0.0]
    assert found([*rows, replace(rows[0], truncated=True)])["length", "ask"].values == [0.0, 0.0, 0.0, 1.0]
    assert not at_bound("a b c", (2, None))


def test_the_bands_are_those_of_the_graph() -> None:
    graph = AuxiliaryGraph.build(
        tasks={"a": {"goal": 1.0}, "b": {"goal": 1.0}},
        criteria={
            "brief": {"metric": "length_band", "args": {"least": 3}, "applies_to": ["a"]},
            "any": {"metric": "length_band", "args": {"most": 9}},
        },
    )
    assert length_bands(graph) == {"a": (3, None), "b": (0, 9)}


def test_an_answer_that_uses_its_evidence_says_more_of_it_than_of_anothers() -> None:
    own, other = episode("where is it", "it is in oslo", "oslo in norway"), episode("who", "", "the king in rome")
    assert ungrounded(own, other) == pytest.approx((1 - (2 - 1) / 2) / 2), (
        "of 'in' and 'oslo' both are in one, 'in' in the other"
    )
    assert ungrounded(replace(own, response="where is it"), other) is None, "words of the question say nothing"
    rows = found([own, other, episode("what", "oslo", "oslo in norway"), episode("none", "oslo")])
    assert rows["evidence_ignored", "ask"].values == [pytest.approx(0.25)], (
        "the third is beside one that was shown the same, the second says nothing, the last was shown nothing"
    )
