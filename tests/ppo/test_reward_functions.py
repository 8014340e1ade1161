"""How reward functions are called, weighed and named, and what is said of values that are no rewards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph.errors import TrainingError
from rag_graph.ppo.reward_functions import Rewards
from rag_graph.ppo.token_rewards import PotentialShaping
from tests.ppo.tiny_run import constant, make


def test_rewards_are_weighed_and_added(tiny_model: Any, tmp_path: Path) -> None:
    def two(prompts: list[str], **_: Any) -> list[float | None]:
        return [2.0] * 4 + [None] * 4

    trainer = make(tiny_model, tmp_path, [constant, two], reward_weights=[0.5, 10.0])
    trainer.train()
    assert trainer.last_rollout is not None
    assert trainer.last_rollout.scores.tolist() == [20.5] * 4 + [0.5] * 4


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), "reward 'broken' is nan for completion"), (float("inf"), "reward 'broken' is inf for completion")],
)
def test_rewards_that_are_no_numbers_stop_the_run(tiny_model: Any, tmp_path: Path, value: float, message: str) -> None:
    def broken(prompts: list[str], **_: Any) -> list[float]:
        return [value] * len(prompts)

    with pytest.raises(TrainingError, match=message):
        make(tiny_model, tmp_path, broken).train()


def test_token_rewards_of_the_wrong_length_are_refused(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    def short(completion_ids: list[list[int]], **_: Any) -> list[list[float]]:
        return [[1.0] * (len(ids) - 1) for ids in completion_ids]

    with pytest.raises(TrainingError, match="reward 'short' returned 5 token rewards for a completion of 6 tokens"):
        make(tiny_model, tmp_path, short).train()
    with pytest.raises(
        TrainingError, match=r"reward '<lambda>' returned 'good' for completion .*A number, None, or a list"
    ):
        make(tiny_model, tmp_path, lambda prompts, **_: ["good"] * len(prompts)).train()
    with pytest.raises(TrainingError, match="is nan for completion"):
        make(
            tiny_model, tmp_path, lambda completion_ids, **_: [[float("nan")] * len(i) for i in completion_ids]
        ).train()


def test_rewards_may_ask_for_the_state_and_may_be_coroutines(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    seen: list[int] = []

    def asking(prompts: list[str], trainer_state: Any, **_: Any) -> list[float]:
        seen.append(trainer_state.global_step)
        return [1.0] * len(prompts)

    def plain(
        prompts: list[str], completions: list[str], completion_ids: list[list[int]], number: list[int]
    ) -> list[float]:
        return [2.0] * len(prompts)

    async def later(prompts: list[str], **_: Any) -> list[float]:
        await asyncio.sleep(0)
        return [4.0] * len(prompts)

    trainer = make(tiny_model, tmp_path, [asking, plain, later], total_episodes=16)
    trainer.train()
    assert seen == [0, 1]
    assert trainer.last_metrics["objective/scores"] == 7


def test_shaping_alone_observes_nothing(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    def half(number: list[int], **_: Any) -> list[float | None]:
        return [None if n % 2 else 1.0 for n in number]

    def potential(completion_ids: list[list[int]], **_: Any) -> list[list[float]]:
        return [[float(t) for t in range(len(ids))] for ids in completion_ids]

    trainer = make(tiny_model, tmp_path, [half, PotentialShaping(potential)])
    trainer.train()
    assert trainer.last_metrics["objective/observed"] == 0.5


def test_rewards_of_one_name_are_told_apart() -> None:
    def a(**_: Any) -> list[float]:
        return []

    def a_1(**_: Any) -> list[float]:
        return []

    assert Rewards([a, a_1, a, a]).names == ["a", "a_1", "a_2", "a_3"]
    big: Any = [lambda prompts, **_: [3e38] * len(prompts)] * 2
    with pytest.raises(TrainingError, match="too large for a number"):
        Rewards(big).score([{"prompt": ""}], [""], [[1]], 1)
