"""Bounds that an experiment states in its `expected.json` for a run at reduced size, and the check of measured numbers by them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def expected(root: Path) -> Callable[[str], dict[str, Any]]:
    """Name of an experiment -> what its `expected.json` says."""

    def read(experiment: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((root / "experiments" / experiment / "expected.json").read_text())
        return found

    return read


@pytest.fixture(scope="session")
def check_reduced(expected: Callable[[str], dict[str, Any]]) -> Callable[[str, Mapping[str, float]], None]:
    """Hold measured numbers to every bound of the reduced run; a name "a - b" is a difference of two measured numbers."""

    def check(experiment: str, measured: Mapping[str, float]) -> None:
        for name, (low, high) in expected(experiment)["reduced"]["bounds"].items():
            first, _, second = name.partition(" - ")
            value = measured[first] - (measured[second] if second else 0.0)
            assert low is None or value >= low, f"{experiment}: {name} is {value:.3f}, expected at least {low}"
            assert high is None or value <= high, f"{experiment}: {name} is {value:.3f}, expected at most {high}"

    return check
