"""A trainer's batch as episodes: ids, references, tasks, chat messages, and what is said of columns that are not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rag_graph.errors import DataError
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example
from rag_graph.reward.columns import ColumnEpisodes, rows_of, with_columns
from rag_graph.reward.reward import GraphReward

IDS = [[1]] * 4


def test_a_group_has_one_example_and_an_id_per_copy(goals: AuxiliaryGraph) -> None:
    make = ColumnEpisodes(goals, "answer")
    state = SimpleNamespace(global_step=6)
    found = make(["p", "p", "q", "p"], ["a", "b", "c", "d"], IDS, answer=["x", "x", ["y", "z"], "x"], trainer_state=state)  # fmt: skip
    example = found[0].example
    assert [one.example.id == example.id for one in found] == [True, True, False, True]
    assert [one.id for one in found] == [f"7/{one.example.id}/{copy}" for one, copy in zip(found, [0, 1, 0, 2], strict=True)]  # fmt: skip
    assert [one.round for one in found] == [7] * 4
    assert [one.example.references for one in found] == [("x",), ("x",), ("y", "z"), ("x",)]
    assert example.inputs == {"input": "p"}
    later = make(["q", "p"], ["a", "b"], IDS, answer=["x", "x"])
    assert later[1].example.id == example.id, "the same in another batch, of another update"
    assert later[1].round == 0, "no trainer said where it is"


@pytest.mark.parametrize("column", ["id", "example_id"])
def test_a_column_of_ids_names_the_examples(goals: AuxiliaryGraph, column: str) -> None:
    found = ColumnEpisodes(goals)(["p", "p", "p"], ["a", "b", "c"], IDS, **{column: [7, 8, None]})
    assert [one.example.id for one in found[:2]] == ["correct/7", "correct/8"]
    assert found[2].example.id.startswith("correct/")


def test_chat_messages_and_references_of_any_type(goals: AuxiliaryGraph) -> None:
    prompt = [{"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "who?"}]}]  # fmt: skip
    said = [{"role": "assistant", "content": "hm"}, {"role": "assistant", "content": "lima"}]
    (found,) = ColumnEpisodes(goals, "answer")([prompt], [said], [[1]], answer=[4])
    assert (found.prompt, found.response, found.example.references) == ("Be short.\nwho?", "lima", ("4",))
    (none,) = ColumnEpisodes(goals, "answer")(["p"], ["a"], [[1]], answer=[None])
    assert none.example.references == ()


def test_a_column_names_the_task() -> None:
    graph = load_graph("parcels")
    make = ColumnEpisodes(graph, "answer", task="kind")
    found = make(["p", "q"], ["a", "b"], IDS, kind=["topic", "summary"], answer=["x", "y"], input=["one", "two"])
    assert [one.example.task for one in found] == ["topic", "summary"]
    with pytest.raises(DataError, match=r"row 1: column 'kind' names the task 'sumary'.*Did you mean 'summary'\? Its tasks: topic"):  # fmt: skip
        make(["p", "q"], ["a", "b"], IDS, kind=["topic", "sumary"], answer=["x", "y"])
    with pytest.raises(DataError, match=r"task='kind': the batch has no such column.*The columns there are: kinds, answer"):  # fmt: skip
        make(["p"], ["a"], IDS, kinds=["topic"], answer=["x"])
    with pytest.raises(DataError, match=r"has the tasks topic, .*Name the column.*task=\.\.\."):
        ColumnEpisodes(graph, "answer")(["p"], ["a"], IDS, answer=["x"])


def test_a_reference_that_is_not_there_is_missed(goals: AuxiliaryGraph) -> None:
    with pytest.raises(DataError, match=r"reference='anwser': the batch has no such column. Did you mean 'answer'\? The columns there are: question, answer"):  # fmt: skip
        ColumnEpisodes(goals, "anwser")(["p"], ["a"], IDS, question=["p"], answer=["x"])
    task = {"kind": "extraction", "goal": 1.0, "metrics": {"exact_match": 1.0}, "prompt": "{input}", "fields": {"input": "context", "reference": "solution"}}  # fmt: skip
    graph = AuxiliaryGraph(GraphSpec.model_validate({"format": 1, "name": "g", "tasks": {"t": task}}))
    with pytest.raises(DataError, match=r"task 't' is scored by exact_match, which compares.*no column 'solution'.*reference=\.\.\."):  # fmt: skip
        ColumnEpisodes(graph)(["p"], ["a"], IDS, answer=["x"])
    (found,) = ColumnEpisodes(graph)(["p"], ["a"], IDS, solution=["x"], context=["a text"])
    assert found.example.references == ("x",), "the graph names it"
    assert found.example.inputs == {"input": "a text"}
    assert ColumnEpisodes(goals)(["p"], ["a"], IDS)[0].example.references == ()


def test_only_lists_of_the_batch_are_columns() -> None:
    columns = {"a": [1, 2], "b": (3, 4), "text": "ab", "short": [1], "log_metric": print}
    assert rows_of(2, columns) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]


def test_episodes_that_are_not_one_per_completion_are_refused() -> None:
    one = Episode("1", Example("1", "t", {}), "", "")
    for made, what in (([], "0 episodes"), ([one], "1 episodes"), ([one, "x"], "a str")):
        with pytest.raises(DataError, match=f"make_episodes returned {what} for 2 completions"):
            with_columns(made, ["p", "q"], ["a", "b"], [[1], [2]], {})  # type: ignore[arg-type]


def test_own_make_episodes_leave_the_columns_to_functions(goals: AuxiliaryGraph) -> None:
    def build(prompts: Any, completions: Any, completion_ids: Any, answer: Any, **_: Any) -> list[Episode]:
        return [Episode(p, Example(p, "correct", {}, (a,)), p, t) for p, t, a in zip(prompts, completions, answer, strict=True)]  # fmt: skip

    def match(completions: Any, answer: Any, level: Any) -> list[float]:
        return [float(c == a and n > 0) for c, a, n in zip(completions, answer, level, strict=True)]

    mine = {"correct": match, "form": lambda e: 1.0, "length": lambda e: 0.5}
    reward = GraphReward(goals, mine, {"reserved": 0.0}, build, reference="answer")
    reward(["p", "q", "r"], ["x", "y", "x"], IDS[:3], answer=["x", "x", "x"], level=[1, 1, 0])
    assert [one.episode.scores["correct"] for one in reward.take_kept()] == [1.0, 0.0, 0.0]


def test_an_episode_of_chat_messages_is_refused() -> None:
    chat: Any = [{"role": "assistant", "content": "a"}]
    for prompt, response, name in (("p", chat, "response"), (chat, "a", "prompt")):
        one = Episode("u1", Example("1", "t", {}), prompt, response)
        with pytest.raises(
            DataError, match=rf"the {name} of episode 'u1' is a list, not text\. .* completion\[0\]\['content'\]"
        ):
            with_columns([one], ["p"], [chat], IDS, {})


@pytest.mark.parametrize("missing", [None, float("nan"), "", " ", [], [None, ""]])
def test_a_reference_that_is_missing_in_the_batch_is_missing(missing: Any) -> None:
    goals = AuxiliaryGraph.build({"t": {"metrics": {"exact_match": 1}}})
    found = ColumnEpisodes(goals)(["p", "q"], ["a", "b"], IDS, reference=["x", missing])
    assert [episode.example.references for episode in found] == [("x",), ()]
