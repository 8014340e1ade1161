"""Which evaluation is the best, and how held-out rows are answered and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rag_graph.errors import TrainingError
from rag_graph.ppo.episode_order import as_dataset
from rag_graph.ppo.evaluation import answer_held_out, is_best
from tests.ppo.tiny_run import ROWS, make


@pytest.mark.parametrize(("greater", "best"), [(True, [0.5, 0.9]), (False, [0.5, 0.2])])
def test_the_best_so_far(greater: bool, best: list[float]) -> None:
    args = SimpleNamespace(metric_for_best_model="scores", greater_is_better=greater)
    state = SimpleNamespace(best_metric=None, best_global_step=None, global_step=0)
    taken = []
    for state.global_step, score in enumerate([0.5, 0.5, 0.2, 0.9, float("nan")], 1):
        if is_best({"eval_scores": score}, args, state):
            taken.append(score)
            assert (state.best_metric, state.best_global_step) == (score, state.global_step)
    assert taken == best, "an equal number is no better, and NaN never is"


def test_a_metric_that_no_evaluation_has() -> None:
    state = SimpleNamespace(best_metric=None)
    assert not is_best({}, SimpleNamespace(metric_for_best_model=None), state)
    args = SimpleNamespace(metric_for_best_model="eval_bleu", greater_is_better=True)
    with pytest.raises(
        TrainingError, match="metric_for_best_model is eval_bleu, and an evaluation has no eval_bleu. .*: eval_a"
    ):
        is_best({"eval_a": 1.0}, args, state)


def test_held_out_rows_are_answered_once_each(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    calls: list[int] = []

    def by_number(prompts: list[str], number: list[int], **_: Any) -> list[float]:
        calls.append(len(prompts))
        return [float(n) for n in number]

    trainer = make(tiny_model, tmp_path, by_number, per_device_eval_batch_size=3)
    metrics = answer_held_out(trainer, as_dataset(ROWS, "eval_dataset"), "eval")
    assert calls == [3, 3, 2]
    table = [json.loads(line) for line in (tmp_path / "completions/eval-000000.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in table] == [row["prompt"] for row in ROWS]
    assert metrics["eval_objective/scores"] == metrics["eval_rewards/by_number"] == 3.5
    assert metrics["eval_val/response_tokens"] == sum(row["tokens"] for row in table) / 8
    assert answer_held_out(trainer, as_dataset(ROWS, "eval_dataset"), "eval") == metrics, "greedy: no random number"


class Measuring:
    """A reward that learns, and says how long the answers are that it kept."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.learned: list[str] = []

    def __call__(self, prompts: list[str], **_: Any) -> list[float]:
        self.kept += prompts
        return [0.0] * len(prompts)

    def take_kept(self) -> list[str]:
        kept, self.kept = self.kept, []
        return kept

    def learn(self, kept: Sequence[str]) -> None:
        self.learned += kept

    def measure(self, kept: Sequence[str]) -> dict[str, float]:
        return {"score": sum(map(len, kept)) / len(kept)}


def test_what_a_reward_measures_of_held_out_answers_is_logged(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    reward = Measuring()
    trainer = make(tiny_model, tmp_path, reward, per_device_eval_batch_size=3)
    metrics = answer_held_out(trainer, as_dataset(ROWS, "eval_dataset"), "eval")
    assert metrics["eval_score"] == sum(len(row["prompt"]) for row in ROWS) / 8
    trainer.rewards.learn()
    assert reward.learned == [], "an evaluation teaches nothing"


def test_a_graph_reward_says_how_good_held_out_answers_are(graph_trainer: Callable[..., Any], tmp_path: Path) -> None:
    trainer, _ = graph_trainer(tmp_path, "none", per_device_eval_batch_size=8)
    rows = [{"prompt": "red kettle", "example_id": str(row)} for row in range(24)]
    metrics = trainer.evaluate(rows)
    (answer,) = {
        row["completion"]
        for row in map(json.loads, (tmp_path / "completions/eval-000000.jsonl").read_text().splitlines())
    }
    length = min(1.0, len(answer) / 40)
    found = {name: metrics[f"eval_{name}"] for name in ("score", "score/t", "nodes/t/score", "nodes/c1/score")}
    assert found == pytest.approx(
        {"score": length, "score/t": length, "nodes/t/score": length, "nodes/c1/score": min(1.0, answer.count("e") / 4)}
    )
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["eval_score"] == metrics["eval_score"]
    assert all(line["score"] == line["score/t"] for line in lines[1:])
