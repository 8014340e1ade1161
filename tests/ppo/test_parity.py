"""One update of `GraphPPOTrainer` against one update of TRL 1.12's `PPOTrainer`, from the same weights and the same random state.

TRL 1.12 lies in a folder of its own, and `stock_worker.py` runs both trainers in a process that finds it there. All numbers are
float64: in float32 the first step of Adam turns the rounding of a gradient that is nearly zero into a whole step, and rounding differs
between processors. To reach float64, the worker sets torch's default dtype, takes GPT-2 (no layer of it casts to float32), and lets the
name `torch.float32` stand for float64 inside transformers' `generate`, which would otherwise round the logits that TRL keeps.
"""

from __future__ import annotations

from typing import Any

import pytest

CASES = ("plain", "k3, penalty, temperature", "large steps", "whitened rewards")


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["none ends", "some end"])
@pytest.mark.parametrize("case", CASES)
def test_one_update_equals_stock(stock_comparison: dict[str, Any], case: str, ends: str) -> None:
    found = stock_comparison["cases"][f"{case}, {ends}"]
    assert found["dtypes"] == ["torch.float64"]
    assert any(found["ended"]) == (ends == "some end")
    assert not all(found["ended"])
    assert found["moved"] > 2e-3, "the update must move the weights for the comparison to mean anything"
    assert found["apart"] < 1e-9


@pytest.mark.slow
def test_the_comparison_notices_another_algorithm(stock_comparison: dict[str, Any]) -> None:
    assert stock_comparison["other lambda"] > 1e-4
