"""The metrics file, the folder of a training, and rewards that learn in other trainers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rag_graph.errors import TrainingError
from rag_graph.ppo.callbacks import (
    METRICS,
    LearningRewards,
    MetricsFile,
    ProgressBar,
    begin_folder,
    keep_until,
    write_completions,
)
from rag_graph.ppo.reward_protocols import WrappedReward
from tests.ppo.tiny_run import arguments, constant


class Learner:
    """A reward that learns and keeps its pace."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.learned: list[list[str]] = []
        self.paces: list[tuple[float, float]] = []

    def __call__(self, prompts: list[str], **_: Any) -> list[float]:
        self.kept += prompts
        return [1.0] * len(prompts)

    def take_kept(self) -> list[str]:
        kept, self.kept = self.kept, []
        return kept

    def learn(self, kept: Sequence[str]) -> None:
        self.learned.append(list(kept))

    def advance(self, progress: float, kl: float) -> None:
        self.paces.append((progress, kl))


class Doubled(WrappedReward):
    """A reward around the one that learns."""

    def __call__(self, prompts: list[str], **columns: Any) -> list[float]:
        return [2 * value for value in self.inside(prompts, **columns)]


class ByInfluence(Learner):
    """A reward that learns by a meta-gradient."""

    wants_influence = True

    def held_out(self) -> list[float | None]:
        return []

    def move(self, influence: Sequence[float]) -> None:
        return None


def test_a_reward_learns_after_each_step_and_not_from_an_evaluation() -> None:
    learner = Learner()
    callback = LearningRewards(Doubled(learner))
    for step in (1, 2):
        learner(["a", "b"])
        callback.on_log(None, None, None, {"kl": 0.25 * step})
        callback.on_log(None, None, None, {"loss": 3.0})
        callback.on_step_end(None, SimpleNamespace(global_step=step, max_steps=5), None)
        learner(["held out"])
        callback.on_evaluate(None, None, None)
    assert learner.learned == [["a", "b"], ["a", "b"]]
    assert learner.paces == [(0.25, 0.25), (0.5, 0.5)]


def test_before_the_first_log_the_kl_is_not_known() -> None:
    learner = Learner()
    LearningRewards(learner).on_step_end(None, SimpleNamespace(global_step=1, max_steps=1), None)
    ((progress, kl),) = learner.paces
    assert progress == 1
    assert math.isnan(kl)


def test_a_reward_that_cannot_learn_there_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"LearningRewards: constant does not learn. Leave it out"):
        LearningRewards(Learner(), constant)
    with pytest.raises(TrainingError, match="meta_gradient needs GraphPPOTrainer"):
        LearningRewards(ByInfluence())


def test_metrics_have_a_line_per_log_that_names_its_stage(tmp_path: Path) -> None:
    args, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(is_world_process_zero=True, global_step=3)
    write = MetricsFile()
    write.on_log(args, state, None, {"objective/kl": 0.5, "grad_norm": math.inf})
    write.on_log(args, state, None, {"eval_objective/scores": 1.0})
    write.on_log(args, state, None, {})
    write.on_log(args, SimpleNamespace(is_world_process_zero=False, global_step=3), None, {"objective/kl": 0.5})
    assert [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()] == [
        {"stage": "ppo", "update": 3, "objective/kl": 0.5, "grad_norm": None},
        {"stage": "evaluation", "update": 3, "eval_objective/scores": 1.0},
    ]


def test_later_lines_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    keep_until(path, 1)
    assert not path.exists()
    rows = [{"update": 1}, {"stage": "sft"}, {"update": 2}, {"update": 3}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    keep_until(path, 2)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows[:3]


def test_a_folder_begins_with_the_arguments_and_the_lines_that_stay(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin_folder(folder, 0, arguments(folder, kl_coef=0.75))
    assert json.loads((folder / "ppo_arguments.json").read_text())["kl_coef"] == 0.75
    (folder / METRICS).write_text('{"update": 1}\n{"update": 2}\n')
    begin_folder(folder, 1, arguments(folder))
    assert (folder / METRICS).read_text() == '{"update": 1}\n', "resumed at update 1"
    begin_folder(folder, 0, arguments(folder))
    assert not (folder / METRICS).exists(), "a new training"
    assert (folder / "earlier-1" / METRICS).read_text() == '{"update": 1}\n'


def test_a_table_of_completions(tmp_path: Path) -> None:
    write_completions(tmp_path, "update-000001", [{"reward": 1.0}, {"reward": math.nan}])
    assert (tmp_path / "completions/update-000001.jsonl").read_text() == '{"reward": 1.0}\n{"reward": null}\n'


class Stateful(Learner):
    """A learner whose state belongs into checkpoints."""

    def state_dict(self) -> dict[str, Any]:
        return {"learned": self.learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learned = state["learned"]


def test_the_state_of_a_reward_travels_in_the_checkpoints_of_other_trainers(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    args = SimpleNamespace(output_dir=str(tmp_path))
    state = SimpleNamespace(global_step=2, max_steps=4, is_world_process_zero=True)
    first, resumed = Stateful(), Stateful()
    first.learned = [["a"], ["b"]]
    LearningRewards(first).on_save(args, state, None)
    LearningRewards(resumed).on_train_begin(args, SimpleNamespace(global_step=0), None)
    assert resumed.learned == [], "a training that begins takes nothing"
    LearningRewards(resumed).on_train_begin(args, state, None)
    assert resumed.learned == [["a"], ["b"]]
    with pytest.warns(RuntimeWarning, match=r"checkpoint-3: no state of the reward"):
        LearningRewards(resumed).on_train_begin(args, SimpleNamespace(global_step=3), None)


def test_the_bar_tells_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    bar, state = ProgressBar(), SimpleNamespace(is_world_process_zero=True, max_steps=2, global_step=0)
    bar.on_train_begin(None, state, None)
    bar.on_log(None, state, None, {"score": 0.625, "objective/scores": 1.0, "objective/kl": math.nan})
    bar.on_log(None, state, None, {"eval_score": 0.75, "eval_objective/scores": 2.0})
    bar.on_train_end(None, state, None)
    shown = capsys.readouterr().err
    assert "score=0.625, reward=1.000" in shown
    assert "kl=" not in shown
    assert "held-out score=0.750, held-out reward=2.000" in shown
