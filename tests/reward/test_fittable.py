"""The reward has all that fitting needs, and a fresh one has learned nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rag_graph.reward.fittable import Fittable
from rag_graph.reward.reward import GraphReward


def test_a_fresh_reward_is_alike_and_has_learned_nothing(
    make_reward: Callable[..., GraphReward], answers: dict[str, Any]
) -> None:
    reward = make_reward("ridge")
    first = reward(**answers)
    reward.learn()
    fittable: Fittable = reward
    fresh = fittable.fresh(reward.config)
    assert isinstance(fresh, GraphReward)
    assert (fresh.graph, fresh.seed, fresh.config) == (reward.graph, reward.seed, reward.config)
    assert fresh.updates == 0
    assert fresh(**answers) == pytest.approx(first)
    assert fittable.fresh(reward.config.model_copy(update={"readout": "flat"})).model.readout.name == "flat"
