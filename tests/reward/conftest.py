"""Shared pieces of the reward's tests, and the oracles that they cite.

An oracle is a test that does not depend on luck: the right answer is known before anything is computed.

1. Permuting the nodes permutes the outputs.
2. An episode alone gives the same as in a batch and as in chunks.
3. Without rules the reward is the goal itself, and a strength of 0 is the same as a removed edge.
4. Values at unobserved entries never matter; the tests set them to NaN.
5. A hidden goal sends no gradient to its own prediction.
6. A strict gate whose prerequisite failed pays exactly 0; a gate is monotone in its prerequisite; a cycle raises.
7. A node's scale times 100 leaves its z-score unchanged, and a constant node stays bounded; the rewards of all readouts spread by 1.
8. Potential-based shaping leaves the policy gradient unchanged (exact enumeration), and the control whose potential is not 0 at the end
   must fail.
9. Redistributed rewards sum to the scalar reward.
10. Imputation beats the mean by a stated margin on a planted graph, and loses it when the edges are shuffled.
11. Planted edges are recovered with a mean AUC of at least .90 over 16 seeds, and with about .5 where the goal's labels are independent.
12. What PPO pays equals direct scoring, for padded, truncated and ended answers.
13. A call for a log changes no running statistic.

8, 9 and 12 are tested in `tests/ppo/test_token_rewards.py` and `tests/runs/test_score_in_ppo.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.records import Episode, Example
from rag_graph.reward.batch import Batch
from rag_graph.reward.model import RewardModel
from rag_graph.reward.readout import Readout
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import TextEmbeddings


@pytest.fixture(scope="session")
def goals() -> AuxiliaryGraph:
    """The graph of a newcomer: a goal, what it needs, and what is charged; all three by own functions."""
    task = {"kind": "generation", "goal": 1.0, "metrics": {"external": 1.0}, "prompt": "x"}
    spec = {
        "format": 1,
        "name": "qa",
        "tasks": {"correct": task},
        "criteria": {"form": {"metric": "external"}, "length": {"metric": "external"}},
        "edges": [
            {"from": "form", "to": "correct", "relation": "prerequisite", "strength": 0.9},
            {"from": "length", "to": "correct", "relation": "conflicts", "strength": 0.5},
        ],
    }
    return AuxiliaryGraph(GraphSpec.model_validate(spec))


@pytest.fixture(scope="session")
def examples() -> dict[str, Example]:
    """One example of each task of the graph `parcels`."""
    return {
        "a": Example("a", "topic", {"input": "ben bought a red kettle ."}, ("kitchen",)),
        "b": Example("b", "sentiment", {"input": "the kettle is great ."}, ("positive",)),
        "c": Example("c", "question", {"input": "ben bought a red kettle .", "question": "who bought it ?"}, ("ben",)),
        "d": Example("d", "summary", {"input": "the red kettle is great ."}, ("good red kettle",)),
    }


@pytest.fixture(scope="session")
def answers() -> dict[str, Any]:
    """The columns of a batch: to each example a right answer and a wrong one."""
    return {
        "prompts": ["p"] * 8,
        "completions": ["kitchen", "garden", "positive", "negative", "ben", "zorro", "good red kettle", "bad"],
        "completion_ids": [[1]] * 8,
        "example_id": ["a", "a", "b", "b", "c", "c", "d", "d"],
    }


@pytest.fixture(scope="session")
def build_parcels(examples: dict[str, Example]) -> Callable[..., list[Episode]]:
    """Columns -> episodes without scores."""

    def build(
        prompts: list[Any], completions: list[Any], completion_ids: list[Any], example_id: list[str], **_: Any
    ) -> list[Episode]:
        return [
            Episode(f"1/{name}", examples[name], str(prompt), completion)
            for prompt, completion, name in zip(prompts, completions, example_id, strict=True)
        ]

    return build


@pytest.fixture(scope="session")
def make_reward(build_parcels: Callable[..., list[Episode]]) -> Callable[..., GraphReward]:
    """readout, settings -> a new reward on the graph `parcels`."""

    def make(readout: str = "expected_goal", **settings: Any) -> GraphReward:
        graph = load_graph("parcels")
        config = RewardConfig(**{"readout": readout, "fit_steps": 4, "reserved": 0.0, **settings})
        return GraphReward(graph, NodeScorer(graph).score, config, build_parcels, seed=3)

    return make


@pytest.fixture(scope="session")
def trained(make_reward: Callable[..., GraphReward], answers: dict[str, Any]) -> Callable[..., GraphReward]:
    """readout, settings -> a reward that has learned from 30 updates with the same batch."""

    def make(readout: str = "expected_goal", **settings: Any) -> GraphReward:
        reward = make_reward(readout, **settings)
        for _ in range(30):
            reward(**answers)
            reward.learn()
        return reward

    return make


@pytest.fixture(scope="session")
def scored() -> Callable[[GraphReward, dict[str, Any]], Batch]:
    """A reward and the columns of a batch -> the scored episodes as tensors."""

    def score(reward: GraphReward, answers: dict[str, Any]) -> Batch:
        return reward.batch_of(reward.observe(reward.make_episodes(**answers)))

    return score


@pytest.fixture(scope="session")
def of_rules(make_graph: Callable[..., AuxiliaryGraph]) -> Callable[..., RewardModel]:
    """A readout's name, one's own, settings -> a model in which c0 gates, c1 supports and c2 harms the goal `t`, each with .5. It has seen
    nothing and pays in score units."""
    relations = ("prerequisite", "supports", "conflicts")
    graph = make_graph([(f"c{i}", "t", relation) for i, relation in enumerate(relations)])

    def make(name: str, own: Readout | Callable[..., Tensor] | None = None, **settings: Any) -> RewardModel:
        torch.manual_seed(0)
        config = RewardConfig(**{"readout": name, "scale": "score", **settings})
        return RewardModel(graph, config, TextEmbeddings().of_graph(graph), own)

    return make


@pytest.fixture(scope="session")
def two_episodes() -> Callable[..., Scores]:
    """Whether their goals are observed -> two episodes of task `t`; nodes are t, u, c0, c1, c2."""

    def make(goal_observed: bool = True) -> Scores:
        values = torch.tensor([[0.8, 0.0, 0.5, 1.0, 0.2], [0.4, 0.0, 1.0, 0.0, 0.0]])
        observed = torch.tensor([[goal_observed, False, True, True, True]] * 2)
        return Scores(values, observed, torch.zeros(2, 5), torch.zeros(2, dtype=torch.long))

    return make


@pytest.fixture(scope="session")
def market() -> Callable[..., tuple[GraphReward, list[Episode], dict[str, dict[str, float]]]]:
    """Budget, seed, settings, answers -> a reward whose scores have prices, answers without scores, and the true scores by id. The goal (price 3) is half of `good` (1) and
    a little of `free`; `noise` (1) says nothing."""

    def make(
        budget: dict[str, Any], seed: int = 0, answers: int = 64, world: int = 0, **settings: Any
    ) -> tuple[GraphReward, list[Episode], dict[str, dict[str, float]]]:
        graph = AuxiliaryGraph.build(
            name="market",
            tasks={"goal": {"goal": 1.0, "cost": 3.0, "metrics": {"external": 1.0}}},
            criteria={
                "free": {"metric": "external"},
                "good": {"metric": "external", "cost": 1.0},
                "noise": {"metric": "external", "cost": 1.0},
            },
            edges=[("free", "goal", "indicates"), ("good", "goal", "indicates")],
        )
        generator = torch.Generator().manual_seed(world)
        free, good, noise, rest = torch.rand((4, answers), generator=generator, dtype=torch.float64)
        columns = {"free": free, "good": good, "noise": noise, "goal": 0.2 * free + 0.6 * good + 0.2 * rest}
        true = {f"{world}/{i}": {name: float(column[i]) for name, column in columns.items()} for i in range(answers)}

        def score(episode: Episode, nodes: Any = None) -> dict[str, float]:
            return {name: v for name, v in true[episode.id].items() if nodes is None or name in nodes}

        config = RewardConfig(**{"reserved": 0.0, "goal_observed": 1.0, "budget": budget, **settings})
        reward = GraphReward(graph, score, config, lambda *_, **__: [], seed)
        episodes = [Episode(name, Example(name, "goal", {"input": ""}), "", name) for name in true]
        return reward, episodes, true

    return make
