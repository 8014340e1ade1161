"""What a run leaves behind: metrics, tables of completions, events for TensorBoard, a bar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import BATCH, PROMPTS, ROWS, arguments

STOCK_METRICS = {
    "episode", "epoch", "eps", "lr", "loss/policy_avg", "loss/value_avg", "objective/entropy", "objective/kl", "objective/non_score_reward",
    "objective/rlhf_reward", "objective/scores", "policy/approxkl_avg", "policy/clipfrac_avg", "policy/entropy_avg", "val/clipfrac_avg",
    "val/num_eos_tokens", "val/ratio", "val/ratio_var",
}  # fmt: skip


def length(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]


def even(number: list[int], **_: Any) -> list[float | None]:
    return [1.0 if n % 2 == 0 else None for n in number]


def train(tiny_model: Callable[[int], Any], folder: Path, **changes: Any) -> GraphPPOTrainer:
    model, tokenizer = tiny_model(1)
    args = arguments(folder, total_episodes=4 * BATCH, **changes)
    trainer = GraphPPOTrainer(
        model, [length, even], args, ROWS, eval_dataset=ROWS[:3], processing_class=tokenizer, reward_weights=[1.0, 2.0]
    )
    trainer.train()
    return trainer


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_the_names_of_stock_are_these(stock_comparison: dict[str, Any]) -> None:
    assert set(stock_comparison["metrics"]) == STOCK_METRICS


def test_every_metric_of_stock_is_logged_under_its_name_and_more(
    tiny_model: Callable[[int], Any], tmp_path: Path
) -> None:
    train(tiny_model, tmp_path / "ours")
    lines = read(tmp_path / "ours" / "metrics.jsonl")
    assert [line["update"] for line in lines] == [1, 2, 3, 4]
    assert set(lines[0]) >= STOCK_METRICS
    assert {
        "rewards/length", "rewards/even", "val/explained_variance", "val/truncated", "tokens_per_second", "episodes_per_second",
        "seconds/preparation", "seconds/reward_learning", "seconds/generation", "seconds/scoring", "seconds/optimisation", "seconds/update", "grad_norm",
    } <= set(lines[0])  # fmt: skip
    for line in lines:
        assert line["rewards/even"] == 1.0
        assert line["objective/scores"] == pytest.approx(line["rewards/length"] + 2 * 0.5)
        assert line["seconds/update"] >= line["seconds/generation"] + line["seconds/optimisation"]
        assert 0 <= line["policy/entropy_avg"] <= 5.8  # ln 320


def test_completions_are_kept_in_tables(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    train(tiny_model, tmp_path, num_sample_generations=2)
    assert sorted(path.name for path in (tmp_path / "completions").iterdir()) == [
        "update-000001.jsonl",
        "update-000003.jsonl",
    ]
    table = read(tmp_path / "completions/update-000003.jsonl")
    assert len(table) == BATCH
    for row in table:
        seen = row["rewards"]["even"]
        assert row["prompt"] in PROMPTS
        assert seen == (1.0 if PROMPTS.index(row["prompt"]) % 2 == 0 else None)
        assert row["reward"] == row["rewards"]["length"] + 2 * (seen or 0) == row["tokens"] + 2 * (seen or 0)


def test_held_out_prompts_are_answered_every_n_updates(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    trainer = train(tiny_model, tmp_path, eval_strategy="steps", eval_steps=2)
    lines = [line for line in read(tmp_path / "metrics.jsonl") if line["stage"] == "evaluation"]
    assert [line["update"] for line in lines] == [2, 4]
    table = read(tmp_path / "completions/eval-000004.jsonl")
    assert [row["prompt"] for row in table] == PROMPTS[:3]
    metrics = trainer.evaluate()
    assert metrics["eval_objective/scores"] == pytest.approx(sum(row["reward"] for row in table) / 3)
    assert metrics["eval_rewards/even"] == 1.0
    assert metrics["eval_val/response_tokens"] == pytest.approx(sum(row["tokens"] for row in table) / 3)
    assert metrics == trainer.evaluate(), "greedy: the same again"
    assert trainer.evaluate(ROWS[3:4], metric_key_prefix="odd")["odd_objective/scores"] <= 6


def test_events_for_tensorboard(
    tiny_model: Callable[[int], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    train(tiny_model, tmp_path, report_to="tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    tags = events.Tags()["scalars"]
    scores = next(tag for tag in tags if tag.endswith("objective/scores"))
    lines = read(tmp_path / "metrics.jsonl")
    assert [event.value for event in events.Scalars(scores)] == pytest.approx(
        [line["objective/scores"] for line in lines]
    )


def test_the_bar_tells_reward_and_kl(
    tiny_model: Callable[[int], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_model, tmp_path, disable_tqdm=False)
    shown = capsys.readouterr().err
    assert "PPO" in shown
    assert "4/4" in shown
    assert "reward=" in shown
    assert "kl=" in shown


def test_the_settings_lie_beside_the_results(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    train(tiny_model, tmp_path, kl_coef=0.123)
    settings = json.loads((tmp_path / "ppo_arguments.json").read_text())
    assert settings["kl_coef"] == 0.123
    assert settings["length_bucketing"] is True
