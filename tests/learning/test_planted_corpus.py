"""The planted corpus at reduced size: the retriever finds the passage that is useful, not the one that looks like the question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def experiment(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("experiments/cotrain/run.py")


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["perplexity", "reward"])
def test_recall_rises(arm: str, experiment: ModuleType, root: Path, tmp_path: Path) -> None:
    expected = json.loads((root / "experiments/cotrain/expected.json").read_text())["reduced"]
    row = experiment.one_run(arm, 100, tmp_path, ["ppo.updates=30"])
    assert row["recall@1_before"] < expected["recall@1_before_at_most"]
    assert row["recall@1"] > expected["recall@1_at_least"]
    assert row["score"] > row["score_before"] + expected["score_gain_at_least"]
