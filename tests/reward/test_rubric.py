"""A rubric in the reward: each episode has its own items, the graph uses their score, and what it pays is split among them. By hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.errors import DataError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode, Item
from rag_graph.reward.readouts import READOUTS
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.rubric import split

RUBRICS: list[Any] = [
    [{"criterion": "oslo", "weight": 3}, {"criterion": "thanks", "weight": 1, "title": "Tone"}],
    [{"criterion": "lima", "weight": 1}, {"criterion": "rude", "weight": -1}, {"criterion": "?", "weight": 2}],
    [],
    '[{"criterion": "rome", "weight": 2}]',
]
ANSWERS = ["to oslo", "lima rude", "anything", "rome"]
SCORES = [0.75, 0.0, None, 1.0]
"""3 of 4; (1 - 1) / 1, the third item not being observed; no rubric; a rubric as JSON text."""


def has(text: str, item: str) -> float | None:
    return None if item == "?" else float(item in text)


def per_item_of_batch(
    completions: Sequence[str], item: Sequence[str], item_weight: Sequence[float], **_: Any
) -> list[float | None]:
    assert len(completions) == len(item) == len(item_weight) == 6, "one row for each item of each answer"
    return [has(*row) for row in zip(completions, item, strict=True)]


def whole_of_batch(completions: Sequence[str], goals: Sequence[Any], **_: Any) -> list[Any]:
    told = [ITEMS[completion] for completion in completions]
    return [[has(completion, item) for item in items] for completion, items in zip(completions, told, strict=True)]


def per_item(episode: Episode, item: Item) -> float | None:
    return has(episode.response, item.criterion)


def whole(episode: Episode) -> list[float | None]:
    return [has(episode.response, item.criterion) for item in episode.example.items["rubric"]]


async def later(episode: Episode, item: Item) -> float | None:
    return has(episode.response, item.criterion)


ITEMS = {"to oslo": ["oslo", "thanks"], "lima rude": ["lima", "rude", "?"], "rome": ["rome"]}


def reward_of(relation: str, function: Any, strength: float = 1.0, goal: float = 0.5, **settings: Any) -> GraphReward:
    graph = AuxiliaryGraph.build({"t": 1.0}, {"rubric": {"items": "goals"}}, [("rubric", "t", relation, strength)])
    config = RewardConfig(**{"reserved": 0.0, "goal_observed": 1.0, "scale": "score", **settings})
    return GraphReward(graph, {"t": lambda episode: goal, "rubric": function}, config, reference=None)


def observed(reward: GraphReward, rubrics: Any = RUBRICS, answers: Sequence[str] = ANSWERS) -> list[Episode]:
    columns: dict[str, Any] = {"goals": list(rubrics)}
    prompts = [f"p{n}" for n in range(len(answers))]
    reward(prompts, list(answers), [[1]] * len(answers), **columns)
    return [paid.episode for paid in reward._kept]


@pytest.mark.parametrize("function", [per_item_of_batch, whole_of_batch, per_item, whole, later])
def test_all_kinds_of_functions_score_items(function: Any) -> None:
    episodes = observed(reward_of("supports", function))
    assert [episode.scores.get("rubric") for episode in episodes] == SCORES
    assert [dict(episode.item_scores) for episode in episodes] == [
        {"rubric": (1.0, 0.0)},
        {"rubric": (1.0, 1.0, None)},
        {},
        {"rubric": (1.0,)},
    ]
    assert episodes[0].example.items["rubric"][1] == Item("thanks", 1.0, "Tone")


def test_a_scorer_of_all_nodes_may_give_items() -> None:
    graph = AuxiliaryGraph.build({"t": 1.0}, {"rubric": {"items": "goals"}}, [("rubric", "t", "supports")])

    def score(episode: Episode, nodes: Any = None) -> dict[str, Any]:
        return {"t": 0.5, **({"rubric": whole(episode)} if episode.example.items else {})}

    episodes = observed(GraphReward(graph, score, RewardConfig(reserved=0.0, goal_observed=1.0), reference=None))
    assert [episode.scores.get("rubric") for episode in episodes] == SCORES
    assert [episode.error for episode in episodes] == [""] * 4


def test_a_prerequisite_holds_where_there_is_a_rubric_alone() -> None:
    """Worth of the goal: .5 (1 - .8 (1 - rubric)); of the answer without a rubric .5, as if the file had no such rule."""
    reward = reward_of("prerequisite", per_item, strength=0.8)
    rewards = reward.node_rewards(observed(reward))
    assert rewards.total().tolist() == pytest.approx([0.5 * 0.8, 0.5 * 0.2, 0.5, 0.5])
    assert rewards.weights[:, 1].tolist() == [0, 0, 0, 0]


def test_what_supports_the_goal_is_paid_where_there_is_a_rubric_alone() -> None:
    """damping .5 makes the credit .5; with the goal's weight 1 that leaves .5 / 1.5 for the rubric."""
    reward = reward_of("supports", per_item)
    rewards = reward.node_rewards(observed(reward))
    assert rewards.weights[:, 1].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert rewards.total().tolist() == pytest.approx([0.5 + 0.75 / 3, 0.5, 0.5, 0.5 + 1 / 3])
    metrics = reward.metrics()
    reward.learn()
    metrics = reward.metrics()
    assert metrics["nodes/rubric/observed"] == 1.0, "of the three episodes that have a rubric"
    assert metrics["nodes/rubric/score"] == pytest.approx((0.75 + 0 + 1) / 3)


def test_items_that_nobody_could_score_are_predicted_not_absent() -> None:
    reward = reward_of("supports", lambda episode, item: None)
    episodes = observed(reward)
    assert ["rubric" in episode.scores for episode in episodes] == [False] * 4
    rewards = reward.node_rewards(episodes)
    assert rewards.weights[:, 1].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert not rewards.observed[:, 1].any()


@pytest.mark.parametrize("relation", ["supports", "prerequisite"])
def test_without_a_rubric_every_readout_pays_as_if_the_file_had_none(relation: str) -> None:
    """Not diffusion, whose walk leaves a node by every relation of the file, of nodes of other tasks too; and not what pays at random."""
    form = ("form", "t", "supports", 0.5)
    with_rubric = AuxiliaryGraph.build(
        {"t": 1}, {"form": {}, "rubric": {"items": "goals"}}, [form, ("rubric", "t", relation)]
    )
    without = AuxiliaryGraph.build({"t": 1}, ["form"], [form])
    scorers = {"t": lambda episode: 0.5, "form": lambda episode: 0.7}
    for name in READOUTS.keys() - {"diffusion", "random"}:
        config = RewardConfig(readout=name, reserved=0, goal_observed=1, scale="score", auxiliary=0.3)
        paid = [
            GraphReward(graph, own, config, reference=None)(["p"], ["c"], [[1]], goals=[[]])
            for graph, own in ((with_rubric, {**scorers, "rubric": per_item}), (without, scorers))
        ]
        assert paid[0] == pytest.approx(paid[1], abs=1e-6), name


def test_pay_is_split_among_the_items() -> None:
    items = (Item("a", 3.0), Item("b", 1.0), Item("c", -2.0))
    assert split(0.75, 0.0, items, [1, 0, 0]) == pytest.approx([0.75, 0, 0])
    assert split(0.25, -0.5, items, [1, 0, 0]) == pytest.approx([0.75 - 0.375, -0.125, 0])
    assert split(0.0, -0.5, items, [1, 1, 1]) == pytest.approx([0.75 - 0.375, 0.25 - 0.125, -0.5])
    assert split(-0.5, -0.5, items, [0, 0, 0]) == pytest.approx([-0.375, -0.125, 0])
    assert split(-0.5, -0.5, items, [0, 1, 1]) == pytest.approx([-0.5 * 0.75 / 1.25, 0, -0.5 * 0.5 / 1.25])
    assert split(0.5, 0.0, items, [None, 0.5, 0]) == pytest.approx([None, 0.5, 0])
    assert split(0.5, 0.0, items, [None, None, 1]) == [None, None, None]


@pytest.mark.parametrize("scale", ["score", "deviation"])
def test_the_parts_sum_to_what_the_rubric_paid_and_to_its_attribution(scale: str) -> None:
    reward = reward_of("supports", per_item, scale=scale)
    for _ in range(3):
        observed(reward)
        reward.learn()
    for paid in reward.pay(observed(reward)):
        found = reward.items_paid(paid)
        if not paid.episode.example.items:
            assert found == {}
            continue
        known = [item.paid for item in found["rubric"] if item.paid is not None]
        assert sum(known) == pytest.approx((paid.values * paid.weights)[1].item(), abs=1e-6)
        shares = reward.attribute_items(paid.episode)["rubric"]
        assert sum(item.paid or 0 for item in shares) == pytest.approx(
            reward.attribute(paid.episode)["rubric"], abs=1e-6
        )
    first = reward.items_paid(reward.pay(observed(reward))[0])["rubric"]
    assert [(item.criterion, item.weight, item.title, item.score) for item in first] == [
        ("oslo", 3.0, "", 1.0),
        ("thanks", 1.0, "Tone", 0.0),
    ]
    assert (first[0].paid or 0) > (first[1].paid or 0)


def test_an_item_that_fails_leaves_the_others() -> None:
    def picky(episode: Episode, item: Item) -> float | None:
        if item.criterion == "thanks":
            raise ValueError("no idea")
        return has(episode.response, item.criterion)

    reward = reward_of("supports", picky)
    with pytest.warns(RuntimeWarning, match="picky"):
        episodes = observed(reward, RUBRICS[:2], ANSWERS[:2])
    assert episodes[0].item_scores["rubric"] == (1.0, None)
    assert episodes[0].scores["rubric"] == 1.0
    assert "no idea" in episodes[0].failed["rubric"]


def test_a_wrong_list_or_column_is_said() -> None:
    reward = reward_of("supports", lambda episode: [1.0])
    with pytest.raises(DataError, match="node 'rubric': 1 scores for the 2 items of example"):
        observed(reward, RUBRICS[:1], ANSWERS[:1])
    with pytest.raises(
        DataError,
        match="the batch: no column 'goals', which the rubric 'rubric' reads its items from. Did you mean 'gaols'",
    ):
        reward(["p"], ["a"], [[1]], gaols=[[]])
    with pytest.raises(DataError, match="row 1: column 'goals', item 1 has no text 'criterion'"):
        reward(["p", "q"], ["a", "b"], [[1]] * 2, goals=[[], [{"weight": 1}]])


def test_a_learned_reward_keeps_episodes_without_a_rubric_apart() -> None:
    """The statistics of the rubric's pay come from episodes that have one: the same with and without the others in the batch."""
    both, alone = (reward_of("supports", per_item, scale="deviation") for _ in range(2))
    observed(both)
    observed(alone, [RUBRICS[n] for n in (0, 1, 3)], [ANSWERS[n] for n in (0, 1, 3)])
    for reward in (both, alone):
        reward.learn()
    assert torch.equal(both.model.moments.mean[1], alone.model.moments.mean[1])
