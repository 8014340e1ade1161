"""What all arms share: their settings, what the warm-up sees, and how the KL is held."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rag_graph.config import RunConfig, load_config

HERE = Path(__file__).parent
TASKS = ("labels", "headline", "dialogue", "question")
ONE_TOKEN = ("labels",)
"""Tasks whose answers are one token."""
PPO = ("random", "goal_only", "flat", "ridge", "gated_fixed", "expected_goal")
SUPERVISED = ("supervised", "supervised_seen")
ARMS = ("expected_goal", "flat", "goal_only", "ridge", "supervised", "gated_fixed", "random", "supervised_seen")
"""In the order of running, so that what was stopped early answers the first questions."""
DEMONSTRATIONS = {"labels": 16, "headline": 32, "dialogue": 64, "question": 64}
"""Examples of each task whose references the warm-up sees."""
KL_TARGET = {"labels": 0.15, "headline": 2.0, "dialogue": 4.0, "question": 2.0}
"""Nats per answer, to which the coefficient of the KL is steered in every arm."""
LEAST_COEFFICIENT = 0.01
"""Of the KL, see `steered`."""
EQUAL_KL = {task: target * 2 / 3 for task, target in KL_TARGET.items()}
"""Nats at which the goals of the arms are read off their curves: below the target, because runs with little to learn from do not reach it."""
SEQUENCES_PER_EPISODE = 3
"""An episode of PPO costs the forward passes of generation, scoring and reference, and two epochs of forward and backward (three forward passes):
9. A sequence of supervised training costs 3."""


def config_of(task: str, seed: int, part: str, changes: Iterable[str]) -> RunConfig:
    """The settings of all arms. `part` tune: nothing of dev is read; what is evaluated is held out from train."""
    own = [f"seed={seed}", *(["data.test_share=0.3"] if part == "tune" else [])]
    config = load_config(HERE / "configs" / f"{task}.yaml", [*changes, *own])
    if part == "tune":
        text = (HERE / "graphs" / f"{task}.yaml").read_text(encoding="utf-8")
        config = config.model_copy(update={"graph": re.sub(r", test: [^}]*", "", text)})
    return config


def steered(coefficient: float, kl: float, target: float) -> float:
    """The next coefficient: up to twice as much where the KL is above its target, down to half where it is below (Ziegler et al. 2019, arXiv 1909.08593,
    sec. 2.2, with wider bounds, because runs are short). It stays above a floor, so that it is back within a few updates when the KL jumps."""
    return max(LEAST_COEFFICIENT, coefficient * min(2.0, max(0.5, kl / target)))
