"""What is asked for: shares, probabilities, limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode, Example
from rag_graph.reward.reward import GraphReward

TASK = {"goal": 1.0, "observe": 0.25, "metrics": {"exact_match": 1.0}}
SHARES = AuxiliaryGraph.build(
    name="shares",
    tasks={"reply": TASK},
    criteria={
        "some": {"metric": "length_band", "args": {"most": 9}, "observe": 0.5},
        "near": {"metric": "token_f1", "observe": 0.5},
        "every": {"metric": "format"},
    },
    edges=[("some", "reply", "indicates")],
)


def replies(number: int) -> list[Episode]:
    return [Episode(f"{i}", Example(f"{i}", "reply", {"input": "?"}, ("yes",)), "?", "yes") for i in range(number)]


def test_a_node_is_asked_for_on_its_share_of_the_answers() -> None:
    """The goal by its own `observe`, in place of reward.goal_observed; what compares with its reference only where it is shown."""
    reward = GraphReward(SHARES, config={"goal_observed": 1.0, "reserved": 0.2})
    found = reward.observe(replies(4000))
    share = {node: sum(node in one.scores for one in found) / 4000 for node in SHARES.nodes}
    assert share == {
        "reply": pytest.approx(0.2, abs=0.02), "some": pytest.approx(0.5, abs=0.025), "near": pytest.approx(0.1, abs=0.015), "every": 1.0,
    }  # fmt: skip
    assert found[0].probability == pytest.approx(0.2 + 0.8 * 0.25)
    assert found[0].probabilities == pytest.approx({"reply": 0.2, "some": 0.5, "near": 0.1})
    assert [one.scores for one in found[:50]] == [one.scores for one in reward.observe(replies(50))]


def test_the_price_of_an_update_is_met_in_the_mean_and_bounded(market: Callable[..., Any]) -> None:
    for mode in ("random", "active"):
        reward, episodes, _ = market({"per_update": 80.0, "mode": mode})
        reward.learn(reward.pay(reward.observe(episodes)))
        spent = []
        for seed in range(40):
            reward.seed, reward.budget.planned = seed, 0.0
            prices = {"goal": 3.0, "good": 1.0, "noise": 1.0, "free": 0.0}
            spent.append(sum(prices[node] for one in reward.observe(episodes) for node in one.scores))
        assert np.mean(spent) == pytest.approx(80.0, abs=3 * np.std(spent) / 40**0.5)
        assert max(spent) < 80 + 3 * (64 * (9 + 1 + 1) / 4) ** 0.5
    reward, episodes, _ = market({"per_update": 80.0, "mode": "all"})
    reward.learn(reward.pay(reward.observe(episodes)))
    assert reward.metrics()["budget/spent"] == 80, "16 answers in order"
    assert [len(one.scores) for one in reward.last_episodes] == [4] * 16 + [1] * 48


def test_active_buys_what_says_something_for_its_price(market: Callable[..., Any]) -> None:
    reward, episodes, _ = market({"per_update": 80.0, "mode": "active"})
    for _ in range(3):
        reward.learn(reward.pay(reward.observe(episodes)))
    chances = reward.last_episodes[0].probabilities
    assert chances["noise"] < 0.12 < chances["good"]


def test_an_answer_has_the_same_draw_in_every_order(market: Callable[..., Any]) -> None:
    reward, episodes, _ = market({"per_update": 80.0, "mode": "random"})
    one = reward.observe(episodes)
    reward.budget.planned = reward.budget.spent = 0.0
    other = reward.observe(episodes[::-1])
    assert [dict(e.scores) for e in one] == [dict(e.scores) for e in other[::-1]]


def test_a_price_that_is_not_known_is_learned_from_a_few_answers() -> None:
    calls = {"reply": 0, "slow": 0}

    def count(name: str) -> Callable[[Episode], float]:
        def score(episode: Episode) -> float:
            calls[name] += 1
            return 0.5

        return score

    graph = AuxiliaryGraph.build(
        name="timed",
        tasks={"reply": {"goal": 1.0, "metrics": {"external": 1.0}}},
        criteria={"slow": {"metric": "external"}},
        edges=[("slow", "reply", "indicates")],
    )
    scorer = NodeScorer(graph, scorers={name: count(name) for name in calls})
    config = {"goal_observed": 1.0, "reserved": 0.0, "budget": {"per_update": 1.0, "unit": "seconds", "mode": "random"}}
    reward = GraphReward(graph, scorer, config)
    reward.learn(reward.pay(reward.observe(replies(400))))
    assert all(0 < number < 30 for number in calls.values()), "about 8 of 400"
    assert all((reward.budget.prices.of(node) or 0) > 0 for node in calls)


def test_reserved_goals_are_paid_within_the_limit(market: Callable[..., Any]) -> None:
    reward, episodes, _ = market({"per_update": 80.0, "mode": "all"}, reserved=0.2)
    reward.learn(reward.pay(reward.observe(episodes)))
    assert sum(bool(one.reserved) for one in reward.last_episodes) > 4
    assert 76 <= reward.metrics()["budget/spent"] <= 80
    reward, episodes, _ = market({"per_update": 10.0, "mode": "random"}, reserved=0.2)
    with pytest.warns(RuntimeWarning, match=r"reserved goals alone cost 38.4 cost here, and 10 may be spent"):
        reward.observe(episodes)


def test_whose_goal_was_bought_is_known_after_the_update(market: Callable[..., Any]) -> None:
    reward, episodes, _ = market({"per_update": 80.0, "mode": "random"})
    reward.learn(reward.pay(reward.observe(episodes)))
    assert reward.goals_shown(episodes) == ["goal" in one.scores for one in reward.last_episodes]


@pytest.mark.parametrize("mode", ["random", "active"])
def test_known_goals_over_their_probability_are_unbiased(mode: str, market: Callable[..., Any]) -> None:
    """Horvitz-Thompson over the draws of 60 seeds, with a reward that has learned; of the goals, and of a criterion."""
    teacher, episodes, true = market({"per_update": 60.0, "mode": mode}, answers=40, reserved=0.1)
    for _ in range(2):
        teacher.learn(teacher.pay(teacher.observe(episodes)))
    estimates: dict[str, list[float]] = {"goal": [], "good": []}
    for seed in range(1, 61):
        teacher.seed = seed
        teacher.budget.planned = 0.0
        found = teacher.observe(episodes)
        goals = [({**one.scores, **one.reserved}.get("goal"), one.probability) for one in found]
        estimates["goal"].append(sum(value / p for value, p in goals if value is not None) / len(found))
        estimates["good"].append(
            sum(one.scores["good"] / one.probabilities["good"] for one in found if "good" in one.scores) / len(found)
        )
    for node, values in estimates.items():
        mean = float(np.mean([scores[node] for scores in true.values()]))
        assert np.mean(values) == pytest.approx(mean, abs=3.5 * np.std(values) / len(values) ** 0.5), node
        assert abs(np.mean(values) - mean) < 0.08


@pytest.mark.parametrize("mode", ["random", "active"])
def test_a_reward_goes_on_from_a_checkpoint_to_the_bit(mode: str, market: Callable[..., Any]) -> None:
    budget = {"per_update": 80.0, "mode": mode}
    worlds = [market(budget, world=world) for world in range(4)]

    def step(reward: GraphReward, world: int) -> None:
        reward.scoring = worlds[world][0].scoring
        reward.learn(reward.pay(reward.observe(worlds[world][1])))

    straight, stopped, resumed = (market(budget)[0] for _ in range(3))
    for world in range(4):
        step(straight, world)
    for world in range(2):
        step(stopped, world)
    resumed.load_state_dict(stopped.state_dict())
    for world in range(2, 4):
        step(resumed, world)
    assert resumed.last_episodes == straight.last_episodes
    one, other = straight.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("mode", ["all", "random", "active"])
def test_what_can_have_no_score_is_not_bought(mode: str) -> None:
    """Of answers without a reference the goal cannot be measured, nor what a judge says who sees it; of answers without items no rubric."""
    graph = AuxiliaryGraph.build(
        name="half",
        tasks={"reply": {"goal": 1.0, "cost": 2.0, "metrics": {"exact_match": 1.0}}},
        criteria={
            "same": {"metric": "judge", "cost": 0.5, "args": {"question": "Does it say the same?", "reference": True}},
            "points": {"metric": "external", "cost": 0.5, "items": "points"},
            "kind": {"metric": "external", "cost": 1.0},
        },
        edges=[("same", "reply", "indicates"), ("kind", "reply", "indicates")],
    )

    class Judge:
        name = "j"

        def judge(self, questions: Sequence[Question]) -> list[Verdict]:
            return [Verdict(0.5) for _ in questions]

        def show(self, question: Question) -> str:
            return question.text

    scorer = NodeScorer(graph, scorers={"points": None, "kind": lambda episode: 0.5}, judges={"j": Judge()})
    settings = {"per_update": 64.0, "mode": mode}
    reward = GraphReward(graph, scorer, RewardConfig(goal_observed=1.0, reserved=0.2, budget=settings))
    episodes = [
        Episode(f"{i}", Example(f"{i}", "reply", {"input": "Well?"}, ("Yes.",) if i % 2 else ()), "Well?", f"{i}")
        for i in range(64)
    ]
    scored = reward.observe(episodes)
    without = [one for one in scored if not one.example.references]
    assert {node for one in without for node in one.asked} == {"kind"}
    assert all(node in {**one.scores, **one.reserved} for one in scored for node in one.asked), (
        "nothing is paid for in vain"
    )
    assert sum(bill.money for one in scored for bill in one.asked.values()) > 40, "the money goes to what has a score"
