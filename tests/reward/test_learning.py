"""What the reward learns from an update, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rag_graph.records import Episode
from rag_graph.reward.batch import Batch
from rag_graph.reward.reward import GraphReward


def test_the_imputer_learns_to_predict_a_hidden_goal(
    answers: dict[str, Any], make_reward: Callable[..., GraphReward], scored: Callable[..., Batch]
) -> None:
    """In questions, a grounded answer is right here: the hidden goal follows from the criterion that is observed."""
    reward, prior_only = make_reward(fit_steps=20), make_reward(fit_steps=0)
    for _ in range(40):
        reward(**answers)
        reward.learn()
        prior_only(**answers)
        prior_only.learn()
    gaps = []
    with torch.no_grad():
        for one in (reward, prior_only):
            scores, contexts = scored(one, answers)
            expected = one.model.predict_goal(scores, contexts)
            gaps.append((expected[4] - expected[5]).item())
    assert gaps[0] > 0.9
    assert gaps[0] > gaps[1] + 0.1, "what is fitted must add to what the file's gate alone predicts"


def test_an_update_in_which_everything_failed_teaches_nothing(
    answers: dict[str, Any], trained: Callable[..., GraphReward]
) -> None:
    reward = trained()
    before = {name: value.clone() for name, value in reward.model.state_dict().items()}

    def broken(episode: Episode) -> dict[str, float]:
        raise ValueError("no")

    reward.score_episode = broken
    reward(**answers)
    reward.learn()
    assert all(torch.equal(value, before[name]) for name, value in reward.model.state_dict().items())
    assert all(episode.error and episode.probability < 1.01 for episode in reward.last_episodes)
