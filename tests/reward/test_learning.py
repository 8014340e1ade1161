"""What the reward learns from an update, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rag_graph.config import RewardConfig
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode, Example
from rag_graph.reward.arguments import EachEpisode
from rag_graph.reward.batch import Batch
from rag_graph.reward.diagnostics import Calibration
from rag_graph.reward.reward import GraphReward


@pytest.mark.slow
def test_the_imputer_learns_to_predict_a_hidden_goal(
    answers: dict[str, Any], make_reward: Callable[..., GraphReward], scored: Callable[..., Batch]
) -> None:
    """In questions, a grounded answer is right here: the hidden goal follows from the criterion that is observed."""
    reward, prior_only = (make_reward("prior_gnn", fit_steps=steps) for steps in (20, 0))
    for _ in range(40):
        reward(**answers)
        reward.learn()
        prior_only(**answers)
        prior_only.learn()
    gaps = []
    with torch.no_grad():
        for one in (reward, prior_only):
            scores, contexts, _ = scored(one, answers)
            expected = one.model.predict_goal(scores, contexts)
            gaps.append((expected[4] - expected[5]).item())
    assert gaps[0] > 0.9
    assert gaps[0] > gaps[1] + 0.1, "what is fitted must add to what the file's gate alone predicts"


@pytest.mark.parametrize("readout", ["ridge", "prior_gnn", "flat"])
def test_audits_judge_what_is_paid(make_graph: Callable[..., AuxiliaryGraph], readout: str) -> None:
    """The calibration's error of a goal is that of what was paid for it where it is reserved; nothing more is hidden."""
    example = {name: Example(name, "t", {"input": "x"}, ("y",)) for name in map(str, range(640))}

    def build(prompts: Any, completions: Any, completion_ids: Any, example_id: list[str], **_: Any) -> list[Episode]:
        return [Episode(f"1/{name}", example[name], "", "") for name in example_id]

    def score(episode: Episode, nodes: Any = None) -> dict[str, float]:
        c = torch.rand(3, generator=torch.Generator().manual_seed(int(episode.example.id))).tolist()
        return {"t": float(c[0] > 0.4), "c0": c[0], "c1": c[1]}

    config = RewardConfig(readout=readout, goal_observed=0.5, reserved=0.2, fit_steps=2)
    reward = GraphReward(make_graph([("c0", "t", "supports")]), score, config, build, seed=2)
    for update in range(10):
        names = [str(64 * update + k) for k in range(64)]
        reward([""] * 64, [""] * 64, [[1]] * 64, example_id=names)
        reward.learning.calibration = Calibration(len(reward.graph.nodes))
        kept = reward.take_kept()
        # In the last update no goal was shown: then what is audited is what is reserved.
        kept = [one for one in kept if update < 9 or "t" not in one.episode.scores]
        reward.learn(kept)
    rewards = reward.last_rewards
    assert rewards is not None
    goal, known = reward.reserved_goals(reward.last_episodes)
    assert known.sum() >= 5
    paid_for = rewards.scores[known, 0]
    calibration = reward.learning.calibration
    assert calibration.number[0].item() == known.sum().item()
    assert calibration.rmse[0].item() == pytest.approx((paid_for - goal[known]).square().mean().sqrt().item(), abs=1e-5)
    assert calibration.bias[0].item() == pytest.approx((paid_for - goal[known]).mean().item(), abs=1e-5)
    assert reward.metrics()["nodes/t/rmse"] == pytest.approx(calibration.rmse[0].item())


def test_an_update_in_which_everything_failed_teaches_nothing(
    answers: dict[str, Any], trained: Callable[..., GraphReward]
) -> None:
    reward = trained()
    before = {name: value.clone() for name, value in reward.model.state_dict().items()}

    def broken(episode: Episode) -> dict[str, float]:
        raise ValueError("no")

    reward.scoring = EachEpisode(broken)
    reward(**answers)
    reward.learn()
    assert all(torch.equal(value, before[name]) for name, value in reward.model.state_dict().items())
    assert all(episode.error and episode.probability == 1.0 for episode in reward.last_episodes)
