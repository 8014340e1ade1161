"""Oracles 1, 2 and 13 on the whole reward, and what each readout pays."""

from __future__ import annotations

import math
import pickle
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example
from rag_graph.reward.arguments import EachEpisode
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.reward import GraphReward
from rag_graph.state_file import load_state, save_state

GRAPH = load_graph("parcels")


@pytest.mark.parametrize("readout", sorted(set(READOUTS) - {"random"}))
def test_right_answers_pay_more_than_wrong_ones(
    readout: str, answers: dict[str, Any], trained: Callable[..., GraphReward]
) -> None:
    paid = trained(readout)(**answers)
    for right, wrong in zip(paid[::2], paid[1::2], strict=True):
        assert right is not None
        assert wrong is not None
        assert right > wrong + 0.5


def test_a_hidden_goal_is_imputed_by_the_graph_and_unpaid_by_goal_only(
    answers: dict[str, Any], trained: Callable[..., GraphReward]
) -> None:
    assert trained("goal_only", goal_observed=0.0)(**answers) == [None] * 8
    paid = trained(goal_observed=0.0, auxiliary=0.0)(**answers)
    assert all(value is not None for value in paid)
    # `zorro` does not stand in the passage: the prerequisite `grounded` fails, and the gate shows without any goal.
    assert paid[4] > paid[5] + 0.5  # type: ignore[operator]


@pytest.mark.parametrize("readout", READOUTS)
def test_an_episode_of_which_nothing_was_observed_is_not_paid(
    readout: str, answers: dict[str, Any], make_reward: Callable[..., GraphReward]
) -> None:
    """s20: it was paid 0, which a trainer takes for an observation. Nothing is learned from it either."""
    reward = make_reward(readout)
    reward.scoring = EachEpisode(lambda episode, nodes=None: {})
    before = flat(reward.model.state_dict())
    for _ in range(3):
        assert reward(**answers) == [None] * 8
        reward.learn()
    changed = flat(reward.model.state_dict())
    assert all(
        torch.equal(before[name], changed[name]) for name in before if "moments" in name or name.startswith(".scale")
    )


def test_alone_equals_in_a_batch_equals_in_chunks(answers: dict[str, Any], trained: Callable[..., GraphReward]) -> None:
    reward = trained(goal_observed=0.5)
    whole = reward(**answers)
    chunks = [reward(**{name: column[start : start + 3] for name, column in answers.items()}) for start in (0, 3, 6)]
    # Other batch sizes take other kernels; a z-score divides their rounding by deviations down to .05.
    assert [value for chunk in chunks for value in chunk] == pytest.approx(whole, abs=1e-4)


def flat(state: Any, name: str = "") -> dict[str, Any]:
    """A nested state as copies of its leaves."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flat(value, f"{name}.{key}").items()}
    if isinstance(state, list | tuple):
        return {k: v for key, value in enumerate(state) for k, v in flat(value, f"{name}.{key}").items()}
    return {name: state.clone() if isinstance(state, torch.Tensor) else state}


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else repr(value) == repr(two[name])
        for name, value in one.items()
    )


def test_calls_change_nothing_and_updates_do(answers: dict[str, Any], trained: Callable[..., GraphReward]) -> None:
    reward = trained()
    before = flat(reward.state_dict())
    first = reward(**answers)
    for _ in range(5):
        assert reward(**answers) == first
    assert same(before, flat(reward.state_dict()))
    reward(**answers)
    reward.learn()
    assert not same(before, flat(reward.state_dict()))


def test_what_was_scored_is_learned_once_and_in_order(
    answers: dict[str, Any], trained: Callable[..., GraphReward]
) -> None:
    """In one call, in chunks, or handed over by a trainer that gathers over processes: the reward learns the same."""
    whole, chunks, handed = (trained(goal_observed=0.5) for _ in range(3))
    whole(**answers)
    whole.learn()
    for start in (0, 3, 6):
        chunks(**{name: column[start : start + 3] for name, column in answers.items()})
    chunks.learn()
    handed(**answers)
    kept = handed.take_kept()
    assert [one.episode.response for one in kept] == answers["completions"]
    assert handed.take_kept() == []
    handed.learn(pickle.loads(pickle.dumps(kept)))
    assert same(flat(whole.state_dict()), flat(chunks.state_dict()))
    assert same(flat(whole.state_dict()), flat(handed.state_dict()))
    before = flat(whole.state_dict())
    whole.learn()
    assert same(before, flat(whole.state_dict())), "nothing was scored since: nothing is learned"


class Counted:
    """A random scorer of every node that counts its calls by episode and node."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.random = random.Random(0)

    def scorers(self) -> dict[str, Any]:
        return {node: partial(self.score, node) for node in (*GRAPH.spec.tasks, *GRAPH.spec.criteria)}

    def score(self, node: str, episode: Episode) -> float:
        self.calls[episode.id, node] += 1
        return self.random.random()


@pytest.mark.parametrize("method", ["none", "alignment", "meta_gradient"])
def test_each_node_is_scored_once_whatever_is_hidden_reserved_or_learned(
    method: str, answers: dict[str, Any], build_unlike: Callable[..., list[Episode]]
) -> None:
    counted = Counted()
    config = RewardConfig(fit_steps=1, reserved=0.5, goal_observed=0.5, learn={"method": method, "warm_up": 0})
    reward = GraphReward(GRAPH, NodeScorer(GRAPH, scorers=counted.scorers()).score, config, build_unlike, seed=1)
    paid = reward(**answers)
    if reward.wants_influence:
        held_out = reward.held_out()
        assert [value is not None for value in held_out] == [reward.is_reserved(one.episode) for one in reward._kept]
        reward.move([0.1 * row for row in range(8)])
    reward.learn()
    assert set(counted.calls.values()) == {1}
    assert {name for name, _ in counted.calls} == {f"{row}/{name}" for row, name in enumerate(answers["example_id"])}
    assert {bool(episode.reserved) for episode in reward.last_episodes} == {True, False}
    # What was paid is what is recorded, although the scores were random and the strengths have moved since.
    assert reward.last_rewards is not None
    recorded = reward.last_rewards.total().tolist()
    assert recorded == pytest.approx([math.nan if value is None else value for value in paid], nan_ok=True, abs=0)


@pytest.fixture
def build_unlike(examples: dict[str, Example]) -> Callable[..., list[Episode]]:
    """Columns -> episodes, each of an example of its own, so that half of them are reserved."""

    def build(
        prompts: list[Any], completions: list[Any], completion_ids: list[Any], example_id: list[str], **_: Any
    ) -> list[Episode]:
        return [
            Episode(f"{row}/{name}", replace(examples[name], id=f"{row}/{name}"), "p", completion)
            for row, (completion, name) in enumerate(zip(completions, example_id, strict=True))
        ]

    return build


def test_a_reward_that_never_learns_forgets_the_oldest_and_says_so(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], make_reward: Callable[..., GraphReward]
) -> None:
    monkeypatch.setattr("rag_graph.reward.reward.MOST_KEPT", 12)
    reward = make_reward()
    reward._kept = deque(maxlen=12)
    reward(**answers)
    with pytest.warns(RuntimeWarning, match=r"the oldest are forgotten.*LearningRewards"):
        reward(**answers)
    assert len(reward.take_kept()) == 12


def test_permuting_the_file_permutes_the_rewards(
    answers: dict[str, Any], build_parcels: Callable[..., list[Episode]]
) -> None:
    """The same graph with its blocks in another order: the same reward from prior, gates and credit."""
    spec = GRAPH.spec.model_dump(by_alias=True)
    spec["criteria"] = dict(reversed(spec["criteria"].items()))
    spec["tasks"] = dict(reversed(spec["tasks"].items()))
    spec["edges"] = list(reversed(spec["edges"]))
    other_graph = AuxiliaryGraph(GraphSpec.model_validate(spec))
    config = RewardConfig(fit_steps=0, goal_observed=0.5, reserved=0.0)
    first = GraphReward(GRAPH, NodeScorer(GRAPH).score, config, build_parcels, seed=3)
    second = GraphReward(other_graph, NodeScorer(other_graph).score, config, build_parcels, seed=3)
    for reward in (first, second):
        for _ in range(5):
            reward(**answers)
            reward.learn()
    assert first(**answers) == pytest.approx(second(**answers), abs=1e-4)
    one, two = first.node_rewards(first.last_episodes), second.node_rewards(second.last_episodes)
    order = [other_graph.index[name] for name in GRAPH.nodes]
    assert torch.allclose(one.values, two.values[:, order], atol=1e-4)
    assert torch.allclose(one.weights, two.weights[:, order], atol=1e-4)


def test_nothing_that_pays_is_none_and_no_goal_is_refused(
    answers: dict[str, Any], build_parcels: Callable[..., list[Episode]]
) -> None:
    spec = GRAPH.spec.model_dump(by_alias=True)
    spec["tasks"]["topic"]["goal"] = 0.0
    partly = GraphReward(
        AuxiliaryGraph(GraphSpec.model_validate(spec)),
        NodeScorer(GRAPH).score,
        RewardConfig(readout="goal_only", reserved=0.0),
        build_parcels,
    )
    assert [value is None for value in partly(**answers)] == [True, True] + [False] * 6
    for task in spec["tasks"].values():
        task["goal"] = 0.0
    with pytest.raises(ConfigError, match="no task has a goal weight"):
        GraphReward(
            AuxiliaryGraph(GraphSpec.model_validate(spec)), NodeScorer(GRAPH).score, RewardConfig(), build_parcels
        )


def test_a_reward_taken_back_scores_and_learns_on_as_the_one_that_was_kept(
    tmp_path: Path,
    answers: dict[str, Any],
    trained: Callable[..., GraphReward],
    make_reward: Callable[..., GraphReward],
) -> None:
    first = trained()
    save_state(tmp_path, "reward", first.state_dict())
    second = make_reward()
    second.load_state_dict(load_state(tmp_path, "reward"))
    assert second(**answers) == first(**answers)
    for _ in range(2):
        first(**answers)
        first.learn()
        second(**answers)
        second.learn()
    assert same(flat(first.state_dict()), flat(second.state_dict()))


def test_metrics_report_every_node_in_play(trained: Callable[..., GraphReward]) -> None:
    reward = trained(goal_observed=0.5)
    logged = reward.metrics()
    for node in ("topic", "sentiment", "question", "summary", "well_formed", "grounded", "three_words"):
        assert f"nodes/{node}/reward" in logged
    assert logged["nodes/well_formed/observed"] == 1.0
    assert "nodes/archive/reward" not in logged


def test_nothing_asked_is_nothing_answered(answers: dict[str, Any], trained: Callable[..., GraphReward]) -> None:
    reward = trained()
    before = flat(reward.state_dict())
    empty = {name: [] for name in answers}
    assert reward(**empty) == []
    reward(**empty)
    reward.learn()
    assert same(before, flat(reward.state_dict()))


def test_a_reward_that_the_trainer_cannot_teach_says_so(
    make_reward: Callable[..., GraphReward], answers: dict[str, Any]
) -> None:
    """A trainer that does not see the reward inside what wraps it does not call `learn`: the reward does, before it pays the next update."""
    reward = make_reward()
    build = reward.make_episodes

    def rounds(prompts: Any, completions: Any, completion_ids: Any, number: int, **columns: Any) -> list[Episode]:
        return [replace(episode, round=number) for episode in build(prompts, completions, completion_ids, **columns)]

    reward.make_episodes = rounds
    reward(**answers, number=1)
    reward.learn()
    reward(**answers, number=2)
    with pytest.warns(RuntimeWarning, match=r"not let it learn from the one before.*WrappedReward.*LearningRewards"):
        reward(**answers, number=3, trainer_state=SimpleNamespace(global_step=2, max_steps=5))
    assert reward.updates == 2
    assert reward.progress == 0.5
    assert [one.episode.round for one in reward._kept] == [3] * 8
    reward(**answers, number=4)  # it is said once, and learned from all the same
    assert reward.updates == 3


def test_a_column_may_be_called_log_metric(make_reward: Callable[..., GraphReward], answers: dict[str, Any]) -> None:
    assert make_reward()(**answers, log_metric=["x"] * 8) == make_reward()(**answers)


@pytest.mark.parametrize("readout", ["expected_goal", "flat", "goal_only"])
def test_the_score_is_the_mean_goal_whatever_is_paid(
    readout: str, answers: dict[str, Any], make_reward: Callable[..., GraphReward]
) -> None:
    """Half of the answers are right. Every goal is observed or reserved, so each readout says the same, at its first update and later."""
    reward = make_reward(readout, reserved=0.4)
    truth = {name: NodeScorer(GRAPH).score(one)[one.example.task] for one in reward.make_episodes(**answers) for name in [one.id + one.response]}  # fmt: skip
    for _ in range(3):
        logged: dict[str, float] = {}
        reward(**answers, log_metric=logged.__setitem__)
        episodes = [one.episode for one in reward._kept]
        reward.learn()
        metrics = reward.metrics()
        assert any(one.reserved for one in episodes)
        for task in GRAPH.spec.tasks:
            known = [truth[one.id + one.response] for one in episodes if one.example.task == task]
            assert metrics[f"score/{task}"] == logged[f"score/{task}"] == pytest.approx(sum(known) / len(known))
        goals = {name: task.goal for name, task in GRAPH.spec.tasks.items()}
        weighted = sum(weight * metrics[f"score/{name}"] for name, weight in goals.items() if weight) / sum(
            goals.values()
        )
        assert metrics["score"] == logged["score"] == pytest.approx(weighted)


def test_a_hidden_goal_counts_by_its_prediction(answers: dict[str, Any], trained: Callable[..., GraphReward]) -> None:
    reward = trained(goal_observed=0.0, caution=0.5)
    reward(**answers)
    kept = reward.take_kept()
    expected = [one.mean for one in reward.predict_goal([one.episode for one in kept])]
    before = flat(reward.state_dict())
    found = reward.measure(kept)
    assert found["score/question"] == pytest.approx(sum(expected[4:6]) / 2)
    assert "nodes/question/score" not in found, "it was never observed"
    assert found["nodes/grounded/score"] == pytest.approx(
        sum(one.episode.scores["grounded"] for one in kept if "grounded" in one.episode.scores)
        / sum("grounded" in one.episode.scores for one in kept)
    )
    after = flat(reward.state_dict())
    assert all(torch.equal(value, after[name]) for name, value in before.items() if isinstance(value, torch.Tensor))
    failed = [one._replace(episode=replace(one.episode, error="down", scores={})) for one in kept]
    assert reward.measure(failed) == {}, "what failed is no answer of 0"


def test_a_task_that_an_update_lacks_counts_with_its_last_mean(
    answers: dict[str, Any], make_reward: Callable[..., GraphReward]
) -> None:
    """Else the score would rise and fall with the tasks that a small batch happens to draw."""
    reward = make_reward()
    reward(**answers)
    reward.learn()
    whole = reward.metrics()["score"]
    state = reward.state_dict()
    for one in (reward, make_reward()):
        one.load_state_dict(state)
        right = {name: column[:1] for name, column in answers.items()}  # a right answer of the task topic
        one(**right)
        one.learn()
        metrics, goals = one.metrics(), {name: task.goal for name, task in GRAPH.spec.tasks.items()}
        assert [name for name in metrics if name.startswith("score/")] == ["score/topic"]
        change = goals["topic"] * (1.0 - 0.5) / sum(goals.values())
        assert metrics["score"] == pytest.approx(whole + change)


def exact_match(completions: Any, answer: Any, **columns: Any) -> list[float]:
    return [float(text == wanted) for text, wanted in zip(completions, answer, strict=True)]


def test_it_prints_what_it_is(
    goals: AuxiliaryGraph, make_reward: Callable[..., GraphReward], answers: dict[str, Any]
) -> None:
    reward = GraphReward(goals, {"correct": exact_match, "form": partial(exact_match), "length": None})
    assert repr(reward) == (
        "GraphReward('qa', scored by {correct: exact_match, form: exact_match, length: not scored}, readout expected_goal, 0 updates learned)"
    )
    parcels = make_reward("flat")
    parcels(**answers)
    parcels.learn()
    said = repr(parcels)
    assert said.startswith("GraphReward('parcels', scored by {topic: accuracy, sentiment: accuracy, question: ")
    assert said.endswith("more}, readout flat, 1 updates learned)") or said.endswith(
        "}, readout flat, 1 updates learned)"
    )
    assert len(said) < 400
    parcels.scoring = EachEpisode(lambda episode, nodes=None: {})
    assert "scored by EachEpisode" in repr(parcels)


def test_a_reference_column_that_nobody_named_is_told(goals: AuxiliaryGraph) -> None:
    mine = {"correct": exact_match, "form": lambda e: 1.0, "length": lambda e: 0.5}
    batch = (["p"], ["a"], [[1]])
    with pytest.warns(RuntimeWarning, match=r"goal 'correct' reads the column 'answer'.*reference='answer'"):
        GraphReward(goals, mine)(*batch, answer=["a"])
    with pytest.warns(RuntimeWarning, match="goal 'correct' reads the column 'answer'"):  # a limit hides goals too
        GraphReward(goals, mine, {"reserved": 0.0, "budget": {"per_update": 9, "unit": "calls"}})(*batch, answer=["a"])
    GraphReward(goals, mine, reference=None)(*batch, answer=["a"])
    GraphReward(goals, mine, {"reserved": 0.0})(*batch, answer=["a"])  # nothing is ever hidden


def test_what_is_hidden_is_hidden_from_every_function(goals: AuxiliaryGraph) -> None:
    """Half of the goals are hidden, a third of the examples reserved: each function is called once, on the rows that it may see."""
    seen: dict[str, list[Any]] = {}

    def right(completions: Any, answer: Any) -> list[float]:
        seen["right"] = list(zip(completions, answer, strict=True))
        return exact_match(completions, answer)

    def near(completions: Any, answer: Any) -> list[float]:
        seen["near"] = list(zip(completions, answer, strict=True))
        return [0.5] * len(completions)

    def long(completions: Any) -> list[float]:
        seen["long"] = completions
        return [len(text) / 10 for text in completions]

    reward = GraphReward(
        goals,
        {"correct": right, "form": near, "length": long},
        {"goal_observed": 0.5, "reserved": 0.3},
        reference="answer",
    )
    prompts, said = [f"q{n // 4}" for n in range(80)], [f"a{n}" for n in range(80)]
    reward(prompts, said, [[1]] * 80, answer=[f"a{n - n % 4}" for n in range(80)])
    kept = [one.episode for one in reward.take_kept()]
    shown, audited = [one for one in kept if "correct" in one.scores], [one for one in kept if one.reserved]
    assert {one.example.id for one in shown}.isdisjoint(one.example.id for one in audited)
    assert sorted(text for text, _ in seen["right"]) == sorted(one.response for one in shown + audited)
    assert sorted(text for text, _ in seen["near"]) == sorted(one.response for one in shown)
    assert seen["long"] == said
    assert all(one.reserved == {"correct": float(one.response == one.example.references[0])} for one in audited)
    assert all("form" not in one.scores for one in kept if one not in shown)
    assert 10 < len(shown) < 50
    assert 8 < len(audited) < 48
    assert len(audited) % 4 == 0, "a group is reserved as a whole"
    names = list(goals.nodes)
    assert [names[n] for n in reward.model.topology.reads_references.nonzero().flatten()] == ["form"]


def test_scores_in_the_log_of_a_batch_are_never_those_of_the_update_before(
    answers: dict[str, Any], make_reward: Callable[..., GraphReward]
) -> None:
    """TRL's trainers log an evaluation through the same function: there the last update's score of a node would be taken for its own."""
    reward = make_reward()
    reward(**answers)
    reward.learn()
    assert {"nodes/topic/score", "score/topic", "nodes/topic/reward"} <= set(reward.metrics())
    logged: dict[str, float] = {}
    right = {name: column[2:3] for name, column in answers.items()}  # a right answer of the task sentiment
    reward(**right, log_metric=logged.__setitem__)
    assert {"score": 1.0, "score/sentiment": 1.0, "nodes/sentiment/score": 1.0}.items() <= logged.items()
    assert not {"nodes/topic/score", "score/topic"} & set(logged)
    assert "nodes/topic/reward" in logged, "of the last update, from which the reward learned"


def test_shaping_that_fades_to_nothing_is_warned_of(make_graph: Callable[..., AuxiliaryGraph]) -> None:
    config = RewardConfig(auxiliary=0.3)
    with pytest.warns(RuntimeWarning, match="reward.auxiliary falls from 0.3 to 0, and nothing else of this graph"):
        GraphReward(make_graph([("c0", "t", "indicates")]), config=config)
    GraphReward(make_graph([("c0", "t", "supports")]), config=config)  # a warning here would be an error
