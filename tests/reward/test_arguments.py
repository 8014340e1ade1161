"""What GraphReward takes, and what it says of things of a wrong type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rag_graph.config import JudgeConfig, RewardConfig, RunConfig
from rag_graph.errors import ConfigError, DataError
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode, Example
from rag_graph.reward.arguments import EachEpisode, config_of, scoring_of
from rag_graph.reward.reward import GraphReward


def exact_match(completions: Any, answer: Any, **columns: Any) -> list[float]:
    return [float(c == a) for c, a in zip(completions, answer, strict=True)]


def half(episode: Episode) -> float:
    return 0.5


def test_every_kind_of_scoring_is_taken(goals: AuxiliaryGraph) -> None:
    mine = {"correct": exact_match, "form": half, "length": half}
    scorer = NodeScorer(goals, scorers=mine)
    assert scoring_of(goals, scorer) is scorer
    assert scoring_of(goals, scorer.score) is scorer, "its method scores one episode; the whole is called by batch"
    by_node = scoring_of(goals, mine)
    assert isinstance(by_node, NodeScorer)
    assert by_node.scored_by() == {"correct": "exact_match", "form": "half", "length": "half"}
    (scores,) = scoring_of(goals, lambda episode, nodes: {"form": 0.25}).score_all([Episode("1", Example("1", "correct", {}), "", "")], [{"form"}])  # fmt: skip
    assert scores == {"form": 0.25}


def test_a_node_without_a_function_stops_and_none_leaves_it_to_prediction(goals: AuxiliaryGraph) -> None:
    with pytest.raises(ConfigError, match=r"nothing scores 'length' \(metric: external\).*scorers=\{'length': function\}; None in its place"):  # fmt: skip
        GraphReward(goals, {"correct": exact_match, "form": half})
    reward = GraphReward(goals, {"correct": exact_match, "form": half, "length": None}, {"reserved": 0.0}, reference="answer")  # fmt: skip
    assert reward(["q", "r"], ["a", "b"], [[1], [2]], answer=["a", "c"]) != [None, None]
    assert [sorted(one.episode.scores) for one in reward.take_kept()] == [["correct", "form"]] * 2
    bare = GraphReward(goals)  # for tables of scores nothing needs to be scored
    with pytest.raises(ConfigError, match="nothing scores 'correct', 'form', 'length'"):
        bare(["q"], ["a"], [[1]])


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        (exact_match, r"exact_match is one function.*Write GraphReward\(graph, \{'correct': exact_match\}\)"),
        (half, r"half is one function.*score\(episode, nodes\)"),
        ([half], "a list. Give functions by node, such as {'correct': function}"),
        (RewardConfig(), r"this is a RewardConfig. The order is GraphReward\(graph, scorers, config\)"),
        ({"readout": "flat"}, "'readout' is a setting of the reward, not a node. Settings are the third argument"),
        ({"correct": exact_match, "form": "half", "length": half}, r"scorers\['form'\] is a str, not a function"),
    ],
)
def test_wrong_scorers_get_a_sentence(goals: AuxiliaryGraph, scorers: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GraphReward(goals, scorers)


def test_an_unknown_node_gets_a_sentence(goals: AuxiliaryGraph) -> None:
    with pytest.raises(DataError, match=r"a scorer for 'corect'.*Did you mean 'correct'\? Its nodes: correct, form, length"):  # fmt: skip
        GraphReward(goals, {"corect": exact_match})


def test_a_config_may_be_a_dict() -> None:
    assert config_of({"readout": "flat", "learn": {"warm_up": 3}}) == RewardConfig(readout="flat", learn={"warm_up": 3})  # type: ignore[arg-type]
    assert config_of(None) == RewardConfig()
    with pytest.raises(ConfigError, match="config: unknown setting 'readoutt'. Did you mean 'readout'"):
        config_of({"readoutt": "flat"})
    with pytest.raises(ConfigError, match=r"config: reserved: .*less than 1 \(given: 2\)"):
        config_of({"reserved": 2})


def test_a_wrong_config_gets_a_sentence(goals: AuxiliaryGraph) -> None:
    wrong: Mapping[str, tuple[Any, str]] = {
        "graph": (goals, r"this is a graph. The graph comes first: GraphReward\(graph, scorers, config\)"),
        "run": (RunConfig(), "settings of a whole run. Give its part config.reward"),
        "function": (half, r"half is a function. Functions are the second argument"),
        "text": ("flat", r"a str. Give RewardConfig\(readout=...\)"),
    }
    for given, message in wrong.values():
        with pytest.raises(ConfigError, match=f"config: .*{message}"):
            GraphReward(goals, None, given)


def test_a_function_that_scores_all_nodes_fails_for_its_episode_alone() -> None:
    def brittle(episode: Episode, nodes: Any = None) -> dict[str, float]:
        return {"form": {"a": 0.5, "b": 7.0}[episode.response]}

    make: Callable[[str], Episode] = lambda text: Episode("1", Example("1", "t", {}), "", text)  # noqa: E731
    found = EachEpisode(brittle).score_all([make(text) for text in "abc"])
    assert [dict(one) for one in found] == [{"form": 0.5}, {}, {}]
    assert found[0].error == ""
    assert found[1].error.startswith("ConfigError: node 'form': a score is a number from 0 to 1, and this one is 7.0")
    assert found[2].error == "KeyError: 'c'"


JUDGED = AuxiliaryGraph.build(
    {"reply": {"goal": 1.0, "metrics": {"judge": 1.0}, "args": {"question": "Does it help?"}}}
)


@pytest.mark.parametrize("form", [dict, JudgeConfig.model_validate])
def test_a_reward_takes_settings_of_judges(
    judge_server: Any, form: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_GRAPH_CACHE", str(tmp_path))
    judge_server.behave = lambda number, prompt: "nonsense" if "[bad]" in prompt else '{"mark": 4}'
    reward = GraphReward(
        JUDGED, config={"reserved": 0.0}, judges={"a": form({"model": "m", "base_url": judge_server.url})}
    )
    logged: dict[str, float] = {}
    reward(["q"] * 3, ["good", "[bad]", "fine"], [[1]] * 3, log_metric=logged.__setitem__)
    kept = [one.episode for one in reward._kept]
    assert [dict(one.scores) for one in kept] == [{"reply": 0.75}, {}, {"reply": 0.75}]
    assert kept[1].failed == {"reply": "unreadable: no mark: nonsense"}
    assert (logged["judge/requests"], logged["judge/failed/unreadable"], logged["nodes/reply/failed"]) == (3, 1, 1 / 3)
    reward.learn()
    assert reward.metrics()["nodes/reply/tokens_in"] == 300


def test_a_judge_that_cannot_see_what_a_node_shows_it() -> None:
    graph = AuxiliaryGraph.build(
        {"reply": {"metrics": {"judge": 1.0}, "args": {"question": "Right?", "reference": True}}}
    )
    settings = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "template": "{question}{answer}{scale}"}
    with pytest.raises(ConfigError, match=r"node 'reply': judges.a.template: it lacks \{reference\}"):
        GraphReward(graph, judges={"a": settings})


def test_judges_beside_what_scores_all_nodes_are_refused() -> None:
    settings = {"a": {"model": "m", "base_url": "http://127.0.0.1:9/v1"}}
    with pytest.raises(ConfigError, match=r"here NodeScorer scores all nodes. Give them to it, as in NodeScorer"):
        GraphReward(JUDGED, NodeScorer(JUDGED), judges=settings)
    with pytest.raises(ConfigError, match="here <lambda> scores all nodes|here lambda"):
        GraphReward(JUDGED, lambda episode, nodes: {}, judges=settings)
