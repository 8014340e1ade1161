"""A reward adds what lets it learn to the trainer that calls it. `tests/runs/test_other_trainers.py` does so in TRL."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rag_graph.errors import TrainingError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.ppo.callbacks import LearningRewards
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.trainers import join_trainer, of_all_processes


class Trainer:
    """What join_trainer needs of a transformers.Trainer."""

    def __init__(self, folder: Path, *callbacks: Any, step: int = 0) -> None:
        self.callback_handler = SimpleNamespace(callbacks=list(callbacks))
        self.add_callback = self.callback_handler.callbacks.append
        self.args = SimpleNamespace(output_dir=str(folder))
        self.state = SimpleNamespace(global_step=step, max_steps=4, is_world_process_zero=True)

    def log_metric(self, name: str, value: float) -> None: ...

    def step(self) -> None:
        self.state.global_step += 1
        for callback in self.callback_handler.callbacks:
            callback.on_step_end(self.args, self.state, None)

    def save(self) -> None:
        (Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}").mkdir(parents=True)
        for callback in self.callback_handler.callbacks:
            callback.on_save(self.args, self.state, None)


def make(goals: AuxiliaryGraph, **config: Any) -> GraphReward:
    mine = {"correct": lambda e: float(e.response == "a"), "form": lambda e: 1.0, "length": lambda e: 0.5}
    return GraphReward(goals, mine, {"reserved": 0.0, **config}, reference=None)


def called(reward: GraphReward, trainer: Trainer) -> list[float | None]:
    return reward(["p", "q"], ["a", "b"], [[1], [2]], trainer_state=trainer.state, log_metric=trainer.log_metric)


def test_it_joins_once_and_learns_after_each_step(goals: AuxiliaryGraph, tmp_path: Path) -> None:
    reward, trainer = make(goals), Trainer(tmp_path)
    for _ in range(2):
        called(reward, trainer)
        trainer.step()
    (callback,) = trainer.callback_handler.callbacks
    assert isinstance(callback, LearningRewards)
    assert (reward.updates, reward.progress, reward.take_kept()) == (2, 2 / 3, [])
    called(reward, trainer)
    callback.on_evaluate(trainer.args, trainer.state, None)
    assert reward.take_kept() == [], "an evaluation is forgotten"


def test_a_callback_that_was_given_is_enough(goals: AuxiliaryGraph, tmp_path: Path) -> None:
    reward = make(goals)
    trainer = Trainer(tmp_path, LearningRewards(reward))
    called(reward, trainer)
    trainer.step()
    assert len(trainer.callback_handler.callbacks) == 1
    assert reward.updates == 1


def test_two_rewards_share_a_callback_and_a_checkpoint(goals: AuxiliaryGraph, tmp_path: Path) -> None:
    rewards, trainer = [make(goals), make(goals, readout="flat")], Trainer(tmp_path)
    for reward in rewards:
        called(reward, trainer)
    trainer.step()
    trainer.save()
    assert [reward.updates for reward in rewards] == [1, 1]
    assert len(trainer.callback_handler.callbacks) == 1
    again, resumed = [make(goals), make(goals, readout="flat")], Trainer(tmp_path, step=1)
    paid = [called(reward, resumed) for reward in again]
    assert [reward.updates for reward in again] == [1, 1], "their state is taken back before they pay"
    assert paid == [called(reward, trainer) for reward in rewards]
    assert len(again[0].take_kept()) == 2, "what the first one keeps is not lost when the second one joins"


def test_without_a_trainer_there_is_nothing_to_join(goals: AuxiliaryGraph) -> None:
    for columns in ({}, {"log_metric": ["x"]}, {"log_metric": {}.__setitem__}, {"log_metric": print}):
        join_trainer(object(), columns)


def test_a_meta_gradient_is_refused(goals: AuxiliaryGraph, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="meta_gradient needs GraphPPOTrainer"):
        called(make(goals, learn={"method": "meta_gradient"}), Trainer(tmp_path))


def test_one_process_has_what_it_kept() -> None:
    assert of_all_processes([1, 2]) == [1, 2]
