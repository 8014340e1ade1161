"""Numbers that an experiment states in its `expected.json`, held against what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def expected(experiment: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "experiments" / experiment / "expected.json").read_text())
    return found


def check_reduced(experiment: str, measured: Mapping[str, float]) -> None:
    """Every bound of the reduced run; a name "a - b" is a difference of two measured numbers."""
    for name, (low, high) in expected(experiment)["reduced"]["bounds"].items():
        first, _, second = name.partition(" - ")
        value = measured[first] - (measured[second] if second else 0.0)
        assert low is None or value >= low, f"{experiment}: {name} is {value:.3f}, expected at least {low}"
        assert high is None or value <= high, f"{experiment}: {name} is {value:.3f}, expected at most {high}"
