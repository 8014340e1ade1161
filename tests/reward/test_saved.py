"""What a reward has learned goes into a folder and comes back, for the same graph and readout only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.records import Episode, Example
from rag_graph.reward import GraphReward


@pytest.fixture
def learned(examples: dict[str, Example]) -> tuple[GraphReward, list[Episode]]:
    """A reward that has learned from twenty answers, and these answers."""
    graph = load_graph("parcels")
    score = NodeScorer(graph).score
    answers = ("kitchen", "positive", "ben", "bad")
    episodes = [Episode(f"{n}", example, "p", answers[n % 4]) for n, example in enumerate(list(examples.values()) * 5)]
    episodes = [episode.with_scores(score(episode)) for episode in episodes]
    reward = GraphReward(graph)
    reward.learn(reward.pay(episodes))
    reward.advance(0.5, 0.1)
    return reward, episodes


def test_it_pays_as_before_and_training_begins_anew(learned: tuple[GraphReward, list[Episode]], tmp_path: Path) -> None:
    reward, episodes = learned
    assert reward.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    again = GraphReward("parcels")
    again.start_from(tmp_path / "new" / "folder")
    assert torch.equal(again.node_rewards(episodes).total(), reward.node_rewards(episodes).total())
    assert not torch.equal(GraphReward("parcels").node_rewards(episodes).total(), reward.node_rewards(episodes).total())
    assert (again.progress, again.updates) == (0.0, 0)
    assert len(again.learning.memory) == 20
    again.learn(again.pay(episodes))


def _weaker(graph: AuxiliaryGraph) -> AuxiliaryGraph:
    return graph.with_strengths([0.123, *[edge.strength for edge in graph.spec.edges[1:]]])


@pytest.mark.parametrize(
    ("change", "readout", "said"),
    [
        (lambda graph: graph, "ridge", "fitted with the readout 'expected_goal', and reward.readout is 'ridge'. Set reward.readout: expected_goal"),
        (_weaker, "expected_goal", "fitted for another graph, whose edges differ (only in the fit: "),
        (lambda graph: load_graph("news"), "expected_goal", "fitted for another graph, whose nodes differ"),
    ],
)  # fmt: skip
def test_another_graph_or_readout_is_refused(
    learned: tuple[GraphReward, list[Episode]],
    tmp_path: Path,
    change: Callable[[AuxiliaryGraph], AuxiliaryGraph],
    readout: str,
    said: str,
) -> None:
    reward, _ = learned
    reward.save(tmp_path)
    other = GraphReward(change(reward.graph), config=RewardConfig(readout=readout))  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as error:
        other.start_from(tmp_path)
    assert str(error.value).startswith(f"reward.start_from: {tmp_path}: ")
    assert said in str(error.value)


def test_a_folder_without_a_reward_is_told(tmp_path: Path) -> None:
    reward = GraphReward("parcels")
    cases: Sequence[tuple[Path, str]] = [(tmp_path / "no", "no such folder"), (tmp_path, "it has no reward.json")]
    for folder, said in cases:
        with pytest.raises(ConfigError, match=f"{said}. Name a folder that `rag-graph fit --out`"):
            reward.start_from(folder)
    (tmp_path / "reward.json").write_text("{}")
    with pytest.raises(ConfigError, match="reward.json cannot be read"):
        reward.start_from(tmp_path)
