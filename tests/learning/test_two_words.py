"""PPO learns from nothing: a random policy of 20 thousand parameters is paid for one word and charged for another.

Settings were chosen on seeds 10 to 12; what is asserted is seeds 0 to 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.trainer import GraphPPOTrainer

SEEDS = (0, 1, 2)
UPDATES, BATCH = 80, 64
PROMPTS = [
    "red",
    "blue",
    "green",
    "yellow",
    "kettle",
    "mixer",
    "from",
    "oslo",
    "lima",
    "where",
    "is",
    "it",
    "?",
    "the",
    "a",
    ".",
    "topic",
    "kitchen",
    "audio",
]


def words(tiny_model: Callable[[int], Any]) -> tuple[int, int]:
    _, tokenizer = tiny_model(0)
    (good,), (bad,) = (tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in ("good", "bad"))
    return good, bad


def learn(
    tiny_model: Callable[[int], Any], folder: Path, seed: int, dense: bool, kl_coef: float = 0.02
) -> list[dict[str, float]]:
    """The log of a run: the share of `good` minus the share of `bad` among the tokens, at the end or at each token."""
    model, tokenizer = tiny_model(seed)
    good, bad = words(tiny_model)

    def preference(completion_ids: list[list[int]], **_: Any) -> list[Any]:
        tokens = [[((i == good) - (i == bad)) / len(ids) for i in ids] for ids in completion_ids]
        return tokens if dense else [sum(line) for line in tokens]

    args = GraphPPOConfig(
        output_dir=str(folder), per_device_train_batch_size=BATCH, gradient_accumulation_steps=1, total_episodes=BATCH * UPDATES,
        response_length=8, temperature=1.0, learning_rate=5e-3, lr_scheduler_type="constant", kl_coef=kl_coef, num_sample_generations=0,
        bf16=False, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, seed=seed,
    )  # fmt: skip
    trainer = GraphPPOTrainer(
        model, preference, args, [{"prompt": text} for text in PROMPTS], processing_class=tokenizer
    )
    trainer.train()
    return list(trainer.state.log_history)


def smoothed(log: list[dict[str, float]], name: str, window: int = 5) -> list[float]:
    values = [row[name] for row in log]
    return [sum(values[at - window : at]) / window for at in range(window, len(values) + 1)]


def reached(log: list[dict[str, float]], threshold: float) -> int:
    return next((at for at, value in enumerate(smoothed(log, "objective/scores")) if value >= threshold), len(log))


@pytest.fixture(scope="module")
def logs(
    tiny_model: Callable[[int], Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[int, bool], list[dict[str, float]]]:
    folder = tmp_path_factory.mktemp("two_words")
    return {(seed, dense): learn(tiny_model, folder, seed, dense) for seed in SEEDS for dense in (False, True)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:train_dataset has 19 rows")
def test_the_preferred_word_is_learned(logs: dict[tuple[int, bool], list[dict[str, float]]]) -> None:
    """From 0 to above .5 (at most 1) within 80 updates of 64 episodes."""
    for seed in SEEDS:
        scores = smoothed(logs[seed, False], "objective/scores")
        assert abs(scores[0]) < 0.05
        assert max(scores) > 0.5, seed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:train_dataset has 19 rows")
def test_the_value_model_learns_to_explain_the_returns(logs: dict[tuple[int, bool], list[dict[str, float]]]) -> None:
    for log in logs.values():
        explained = smoothed(log, "val/explained_variance", 15)
        assert explained[0] < 0.15
        assert max(explained) > explained[0] + 0.2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:train_dataset has 19 rows")
def test_rewards_at_the_tokens_are_learned_faster(logs: dict[tuple[int, bool], list[dict[str, float]]]) -> None:
    ratios = [reached(logs[seed, False], 0.4) / reached(logs[seed, True], 0.4) for seed in SEEDS]
    print("updates to a reward of .4, at the end / at the tokens:", [round(ratio, 2) for ratio in ratios])
    assert min(ratios) > 1
    assert sum(ratios) / len(ratios) > 1.25


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:train_dataset has 19 rows")
def test_a_large_kl_coefficient_bounds_the_kl(
    tiny_model: Callable[[int], Any], tmp_path: Path, logs: dict[tuple[int, bool], list[dict[str, float]]]
) -> None:
    held = [row["objective/kl"] for row in learn(tiny_model, tmp_path, 0, dense=False, kl_coef=0.5)]
    free = [row["objective/kl"] for row in logs[0, False]]
    assert max(held) < 2
    assert max(free) > 10
