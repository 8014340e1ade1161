"""The planted corpus at reduced size: the retriever finds the passage that is useful, not the one that looks like the question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def experiment(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("experiments/cotrain/run.py")


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["perplexity", "reward"])
def test_recall_rises(arm: str, experiment: ModuleType, check_reduced: Callable[..., None], tmp_path: Path) -> None:
    check_reduced("cotrain", experiment.one_run(arm, 100, tmp_path, ["ppo.updates=30"]))
