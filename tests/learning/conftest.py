"""The modules of an experiment; the bounds that it states in its `expected.json` for a run at reduced size, and the check of measured numbers by them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def experiment(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Name of an experiment -> its modules by name. They import each other by bare names, which others use too: none is left behind."""
    loaded: list[str] = []

    def load(name: str) -> Any:
        folder = root / "experiments" / name
        names = sorted(path.stem for path in folder.glob("*.py"))
        loaded.extend(names)
        for module in names:
            sys.modules.pop(module, None)
        monkeypatch.syspath_prepend(str(folder))
        return SimpleNamespace(**{module: __import__(module) for module in names})

    yield load
    for module in loaded:
        sys.modules.pop(module, None)


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
