"""Your own functions: in TRL's signature or of one episode, called once a batch, and what is said of those that are wrong."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from rag_graph.errors import ConfigError, DataError
from rag_graph.evaluation.functions import OwnFunction
from rag_graph.evaluation.hidden import Hidden, HiddenReferences
from rag_graph.evaluation.scorer import NodeScorer, NodeScores
from rag_graph.graph import AuxiliaryGraph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example

TASK = {"kind": "generation", "goal": 1.0, "metrics": {"external": 1.0}, "prompt": "x"}
SPEC = {
    "format": 1,
    "name": "qa",
    "tasks": {"correct": TASK},
    "criteria": {"form": {"metric": "external"}, "length": {"metric": "external"}},
}
GRAPH = AuxiliaryGraph(GraphSpec.model_validate(SPEC))
SAID = ["lima", "ben b", "Lima", "x y z w v"]


def episodes(hidden: tuple[int, ...] = (), columns: bool = True, said: list[str] = SAID) -> list[Episode]:
    """An episode per answer; the right one is 'lima'. Of the hidden ones the reference is."""
    made = []
    for n, text in enumerate(said):
        answer: Any = Hidden() if n in hidden else "lima"
        row = {"answer": answer, "level": n, "completion_ids": [n]} if columns else {}
        references = HiddenReferences() if n in hidden else ("lima",)
        example = Example(f"e{n}", "correct", {"input": "who"}, references)
        made.append(Episode(f"1/{n}", example, f"who {n}", text, columns=row))
    return made


# The functions of a newcomer, as TRL calls them.
def exact_match(completions: Any, answer: Any, **columns: Any) -> list[float]:
    return [float(c.strip() == a) for c, a in zip(completions, answer, strict=True)]


def length(completions: Any, **columns: Any) -> list[float]:
    return [min(len(c.split()) / 4, 1.0) for c in completions]


def format_regex(completions: Any, **columns: Any) -> list[float]:
    return [float(bool(re.fullmatch(r"[a-z]+", c.strip()))) for c in completions]


def scores(found: list[NodeScores], node: str) -> list[float | None]:
    return [one.get(node) for one in found]


def score(function: Any, rows: list[Episode] | None = None, node: str = "form") -> list[float | None]:
    return scores(NodeScorer(GRAPH, scorers={node: function}).score_all(rows or episodes()), node)


def test_functions_of_both_kinds_score_a_batch() -> None:
    mine = {"correct": exact_match, "form": format_regex, "length": lambda episode: len(episode.response) / 10}
    found = NodeScorer(GRAPH, scorers=mine).score_all(episodes())
    assert scores(found, "correct") == [1, 0, 0, 0]
    assert scores(found, "form") == [1, 0, 0, 0]
    assert scores(found, "length") == [0.4, 0.5, 0.4, 0.9]
    assert NodeScorer(GRAPH, scorers=mine).score(episodes()[0]) == {"correct": 1, "form": 1, "length": 0.4}


def test_a_function_gets_the_columns_that_it_names() -> None:
    got: dict[str, Any] = {}

    def some(completions: Any, prompts: Any, level: Any, completion_ids: Any, absent: int = 5) -> list[float]:
        got.update(completions=completions, prompts=prompts, level=level, ids=completion_ids, absent=absent)
        return [0.5] * 4

    def every(**columns: Any) -> Any:
        got["every"] = columns
        return torch.tensor([0.0, 0.25, 0.5, 1.0])

    assert score(some) == [0.5] * 4
    assert got["completions"] == SAID
    assert got["prompts"] == ["who 0", "who 1", "who 2", "who 3"]
    assert (got["level"], got["ids"], got["absent"]) == ([0, 1, 2, 3], [[0], [1], [2], [3]], 5)
    assert score(every) == [0.0, 0.25, 0.5, 1.0]
    assert got["every"]["answer"] == ["lima"] * 4
    assert got["every"]["reference"] == ["lima"] * 4
    assert got["every"]["input"] == ["who"] * 4


def test_in_a_run_the_fields_of_the_task_are_columns_by_both_names() -> None:
    spec = {**SPEC, "tasks": {"correct": {**TASK, "fields": {"input": "context", "reference": "solution"}}}}
    graph = AuxiliaryGraph(GraphSpec.model_validate(spec))

    def right(completions: Any, solution: Any, context: Any) -> list[float]:
        assert context == ["who"] * 4
        return [float(c == s) for c, s in zip(completions, solution, strict=True)]

    found = NodeScorer(graph, scorers={"correct": right}).score_all(episodes(columns=False))
    assert scores(found, "correct") == [1, 0, 0, 0]


def test_chat_messages_and_the_trainer_reach_a_function() -> None:
    said = [[{"role": "assistant", "content": "lima"}], [{"role": "assistant", "content": "B"}]]
    state = object()
    rows = [
        Episode("1", Example("1", "correct", {}), "p", "t", columns={"completions": text, "trainer_state": state})
        for text in said
    ]

    def chat(completions: Any, trainer_state: Any) -> list[float]:
        assert trainer_state is state, "passed once, not per row"
        return [float(c[0]["content"].islower()) for c in completions]

    assert score(chat, rows) == [1, 0]


class Judge:
    """A judge that answers when so many questions are open at the same time, and not before."""

    def __init__(self, together: int) -> None:
        self.together, self.open = together, 0

    async def __call__(self, episode: Episode) -> float:
        self.open += 1
        while self.open < self.together:
            await asyncio.sleep(0)
        return len(episode.response) / 10


def test_coroutines_of_both_kinds() -> None:
    async def batch(completions: Any, **columns: Any) -> list[float]:
        return [len(c) / 20 for c in completions]

    found = NodeScorer(GRAPH, scorers={"form": batch, "length": Judge(together=4)}).score_all(episodes())
    assert scores(found, "form") == [0.2, 0.25, 0.2, 0.45]
    assert scores(found, "length") == [0.4, 0.5, 0.4, 0.9]


# ---------------------------------------------------------------------- hidden references


def test_a_function_that_names_the_reference_is_called_on_shown_rows_alone() -> None:
    seen: list[Any] = []

    def near(completions: Any, answer: Any) -> list[float]:
        seen.append((completions, answer))
        return [0.5] * len(completions)

    assert score(near, episodes(hidden=(0, 2))) == [None, 0.5, None, 0.5]
    assert seen == [(["ben b", "x y z w v"], ["lima", "lima"])]
    assert score(near, episodes(hidden=(0, 1, 2, 3))) == [None] * 4
    assert len(seen) == 1, "nothing to ask, no call"


def test_a_function_that_takes_all_columns_sees_why_a_reference_is_missing() -> None:
    calls: list[int] = []

    def near(completions: Any, **columns: Any) -> list[float]:
        calls.append(len(completions))
        return exact_match(completions, columns["answer"])

    scorer = NodeScorer(GRAPH, scorers={"form": near})
    found = scorer.score_all(episodes(hidden=(1, 2)))
    assert scores(found, "form") == [1, None, None, 0]
    assert not any(one.failed for one in found), "not observed, not failed"
    assert calls == [4, 2], "it is called again on the shown rows alone"
    scorer.score_all(episodes(hidden=(1, 2)))
    assert calls == [4, 2, 2], "and from then on at once"
    assert score(length, episodes(hidden=(1, 2))) == [0.25, 0.5, 0.25, 1.0], "one that does not look at it scores all"


def test_a_function_of_an_episode_that_looks_for_a_hidden_reference_does_not_observe() -> None:
    def near(episode: Episode) -> float:
        return float(episode.response in episode.example.references)

    found = NodeScorer(GRAPH, scorers={"form": near}).score_all(episodes(hidden=(1, 2)))
    assert scores(found, "form") == [1, None, None, 0]
    assert not any(one.failed for one in found)


# ---------------------------------------------------------------------- failures


def test_one_that_fails_on_some_rows_loses_these_alone() -> None:
    def brittle(completions: Any, **columns: Any) -> list[float]:
        return [len(re.match("[a-z]+", c)[0]) / 10 for c in completions]  # type: ignore[index]

    scorer = NodeScorer(GRAPH, scorers={"form": brittle, "length": length})
    with pytest.warns(RuntimeWarning, match=r"node 'form': brittle .*1 of 4.*TypeError.*test_functions.py:\d+.*'who 2', answer 'Lima'") as said:  # fmt: skip
        found = scorer.score_all(episodes())
    assert "nodes/form/failed" in str(said[0].message)
    assert scores(found, "form") == [0.4, 0.3, None, 0.1]
    assert scores(found, "length") == [0.25, 0.5, 0.25, 1.0], "the rest of the episode stands"
    assert [list(one.failed) for one in found] == [[], [], ["form"], []]
    assert found[2].failed["form"].startswith("TypeError: ")
    scorer.score_all(episodes())  # said once


def test_one_that_fails_on_every_row_of_its_first_batch_stops() -> None:
    calls: Counter[str] = Counter()

    def typo(episode: Episode) -> float:
        calls["typo"] += 1
        return episode.respnse  # type: ignore[attr-defined,no-any-return]

    wanted = r"node 'form': typo \(test_functions.py:\d+\) raised on every row of its first batch \(4\).*'respnse'.*prompt 'who 0', answer 'lima'.*episode.response"
    with pytest.raises(DataError, match=wanted):
        score(typo)
    assert calls["typo"] == 4

    def text(completions: Any) -> list[float]:
        return [float(c[0]["content"] == "x") for c in completions]

    with pytest.raises(DataError, match="every row of its first batch.*completions are texts here"):
        score(text)


def test_later_it_is_only_counted() -> None:
    works = [True]

    def sometimes(completions: Any) -> list[float]:
        if not works[0]:
            raise ValueError("no")
        return [1.0] * len(completions)

    scorer = NodeScorer(GRAPH, scorers={"form": sometimes})
    scorer.score_all(episodes())
    works[0] = False
    with pytest.warns(RuntimeWarning, match="failed on 4 of 4"):
        found = scorer.score_all(episodes())
    assert all(one.failed == {"form": "ValueError: no"} for one in found)


def test_a_judge_that_is_down_is_no_error_of_the_program() -> None:
    calls: list[int] = []

    def judge(completions: Any) -> list[float]:
        calls.append(len(completions))
        raise ConnectionError("refused")

    with pytest.warns(RuntimeWarning, match="failed on 4 of 4.*ConnectionError: refused"):
        found = NodeScorer(GRAPH, scorers={"form": judge}).score_all(episodes())
    assert all(one.failed == {"form": "ConnectionError: refused"} for one in found)
    assert calls == [4], "and it is not asked again row by row"


# ---------------------------------------------------------------------- wrong values, wrong functions


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda completions: [0.1], "returned 1 values for 4 completions. Return one value per completion"),
        (lambda completions: 0.5, "returned 0.5 for 4 completions.*a list.*one parameter, `episode`"),
        (lambda completions: ["a"] * 4, "returned 'a', a text"),
        (lambda completions: [0, 5, 10, 2], r"returned 5. Scores are in \[0, 1\]. If it runs from a to b, return \(value - a\)"),
        (lambda completions: [float("nan")] * 4, "returned nan, which is no number. Return None"),
        (lambda episode: [0.5], r"returned \[0.5\].*If it takes a batch, name its parameter `completions`"),
        (lambda episode: "0.5", "returned '0.5', a text"),
        (lambda completions, anwser: [1.0] * 4, "asks for 'anwser', and the rows have no such column. Did you mean 'answer'.*Their columns: .*level"),
    ],
)  # fmt: skip
def test_what_is_no_score_gets_a_sentence(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(DataError, match=f"node 'form': <lambda> .*{message}"):
        score(function)


def test_a_value_just_outside_is_rounding() -> None:
    assert score(lambda completions: [1 + 1e-9, -1e-9, True, None]) == [1.0, 0.0, 1.0, None]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda prompt, completion, answer: 1.0,
            "neither in TRL's signature nor a function of one episode. Write `def",
        ),
        (lambda: 1.0, "neither in TRL's signature nor a function of one episode"),
        (0.5, "is a float, not a function. Write `def"),
        (NodeScorer(GRAPH), "is a NodeScorer, which scores all nodes. Give it alone"),
    ],
)
def test_a_function_that_cannot_be_called_gets_a_sentence(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"scorers\['form'\].*{message}"):
        NodeScorer(GRAPH, scorers={"form": given})


@pytest.mark.parametrize(
    ("function", "is_batch"),
    [
        (exact_match, True),
        (partial(exact_match, answer="x"), True),
        (lambda **columns: [], True),
        (lambda prompts, completions: [], True),
        (lambda completion_ids, **columns: [], True),
        (lambda episode: 1, False),
        (lambda episode, weight=2: 1, False),
        (lambda *episodes: 1, False),
        (Judge(1), False),
        (len, False),
    ],
)
def test_the_parameters_tell_the_kind(function: Any, is_batch: bool) -> None:
    assert OwnFunction("form", function).is_batch == is_batch


def test_each_function_is_called_once_a_batch() -> None:
    calls: Counter[str] = Counter()

    def counted(node: str, completions: Any, **columns: Any) -> list[float]:
        calls[node] += 1
        return [0.5] * len(completions)

    mine = {node: partial(counted, node) for node in GRAPH.nodes}
    wanted = [None, {"form"}, None, {"correct", "length"}]
    found = NodeScorer(GRAPH, scorers=mine).score_all(episodes(), wanted)
    assert [sorted(one) for one in found] == [["correct", "form", "length"], ["form"], ["correct", "form", "length"], ["correct", "length"]]  # fmt: skip
    assert calls == {"correct": 1, "form": 1, "length": 1}


def test_a_function_is_named_with_its_place() -> None:
    line = exact_match.__code__.co_firstlineno
    assert str(OwnFunction("form", exact_match)) == f"exact_match (test_functions.py:{line})"
    assert str(OwnFunction("form", partial(exact_match, answer="x"))) == f"exact_match (test_functions.py:{line})"
    assert str(OwnFunction("form", Judge(1))) == f"Judge (test_functions.py:{Judge.__call__.__code__.co_firstlineno})"
    assert str(OwnFunction("form", len)) == "len"


def test_a_function_of_a_rubric_names_an_item_or_takes_one() -> None:
    def batch(completions: Any, item: Any, **_: Any) -> Any: ...
    def both(episode: Any, item: Any) -> Any: ...
    def one(episode: Any) -> Any: ...
    def whole(completions: Any, **_: Any) -> Any: ...

    found = {f.__name__: OwnFunction("rubric", f, rubric=True) for f in (batch, both, one, whole)}
    assert {name: f.by_item for name, f in found.items()} == {"batch": True, "both": True, "one": False, "whole": False}
    assert not OwnFunction("form", batch).by_item, "item is a column like any other where the node is no rubric"
    with pytest.raises(ConfigError, match="is neither in TRL's signature nor a function of one episode"):
        OwnFunction("form", both)


@pytest.mark.parametrize("kind", ["batch", "episode"])
def test_a_reference_that_the_data_lack_is_not_observed(kind: str) -> None:
    """A function that needs it does not fail there; what fails for another reason does."""
    graph = AuxiliaryGraph.build({"t": {"fields": {"input": "a", "reference": "b"}}}, {"form": {}})

    def correct(completions: list[str], b: list[str], **_: Any) -> list[float]:
        return [float(len(one) == len(right)) for one, right in zip(completions, b, strict=True)]

    def right(episode: Episode) -> float:
        return float(episode.response == episode.example.references[0])

    made = [
        Episode(str(n), Example(str(n), "t", {"input": "x"}, given), "", "lima")
        for n, given in enumerate([("lima",), ()])
    ]
    scorer = NodeScorer(
        graph, scorers={"t": correct if kind == "batch" else right, "form": lambda episode: 1 / len(episode.prompt)}
    )
    with pytest.raises(DataError, match=r"the scorer of 'form' failed: ZeroDivisionError"):
        scorer.score(made[1])
    scorer = NodeScorer(graph, scorers={"t": correct if kind == "batch" else right, "form": lambda episode: 1.0})
    found = scorer.score_all(made)
    assert [dict(scores) for scores in found] == [{"t": 1.0, "form": 1.0}, {"form": 1.0}]
    assert [scores.failed for scores in found] == [{}, {}]


def test_the_seconds_of_waiting_are_shared_by_the_rows_of_a_call() -> None:
    """Coroutines wait at the same time: together they cost the time of the longest."""

    def form(completions: list[str], **_: Any) -> list[float]:
        time.sleep(0.04)
        return [1.0] * len(completions)

    async def length(episode: Episode) -> float:
        await asyncio.sleep(0.04)
        return 0.5

    found = NodeScorer(GRAPH, scorers={"correct": None, "form": form, "length": length}).score_all(episodes())
    for node in ("form", "length"):
        each = {one.asked[node].seconds for one in found}
        assert len(each) == 1
        assert each.pop() >= 0.01
    assert all(set(one.asked) == {"form", "length"} for one in found), "nobody was asked for `correct`"
