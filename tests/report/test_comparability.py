"""What a comparison warns of: other data, another budget, seeds that are not shared, other code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph import compare


@pytest.mark.parametrize(
    ("overrides", "manifest", "said"),
    [
        (["ppo.updates=60"], {}, r"Not at equal budget: episodes of PPO: 7,680 \(updates=120\); 3,840 \(updates=60\)"),
        (["reward.goal_observed=0.1"], {}, r"Not at equal budget: share of goals scored: 100% .*; 15%"),
        (["reward.budget.per_update=5"], {}, "Not at equal budget: limit on what scores cost: none .*; 5 cost per update"),
        (["model.source=other"], {}, "Not at equal budget: policy: scratch"),
        (["reward.readout=flat"], {"data": {"topic/test": "another"}}, r"Not on the same data: 'readout=flat' and 'readout=expected_goal' differ in topic/test \(seed 0\), topic/test \(seed 1\)"),
        (["reward.readout=flat"], {"versions": {"torch": "2.12.0"}}, "Other versions of: torch 2.12.0, 2.13.0"),
        (["reward.readout=flat"], {"git": {"commit": "b" * 40}}, r"Other code: 2 git commits \(aaaaaaaa, bbbbbbbb\)"),
    ],
)  # fmt: skip
def test_says_in_what_runs_are_not_comparable(
    make: Callable[..., Path], overrides: list[str], manifest: dict[str, Any], said: str
) -> None:
    runs = [make("a", seed, 0.5, "ppo.batch_size=64") for seed in range(5)]
    runs += [make("b", seed, 0.6, "ppo.batch_size=64", *overrides, **manifest) for seed in range(5)]
    found = compare(runs)
    assert len(found.warnings) == 1
    assert re.search(said, found.warnings[0]), found.warnings[0]
    assert found.warnings[0] in found.to_markdown()


def test_seeds_that_are_not_shared(make: Callable[..., Path]) -> None:
    ours = [make("a", seed, 0.5) for seed in (0, 1, 2, 3)]
    some = [make("b", seed, 0.6, "reward.readout=flat") for seed in (2, 3, 4)]
    none = [make("c", seed, 0.6, "reward.readout=ridge") for seed in (7, 8)]
    found = compare([*ours, *some, *none])
    flat = next(row for row in found.rows if "flat" in row.label)
    ridge = next(row for row in found.rows if "ridge" in row.label)
    assert flat.versus is not None
    assert flat.versus.pairs == 2
    assert ridge.versus is None
    text = "\n".join(found.warnings)
    assert "share 2 of 5 seeds; the difference is of those" in text
    assert "share no seed: nothing can be paired" in text


def test_uncommitted_changes_are_said(make: Callable[..., Path]) -> None:
    runs = [make("a", 0, 0.5), make("b", 0, 0.6, "reward.readout=flat", git={"commit": "a" * 40, "dirty": True})]
    assert any("changes that no commit has" in warning for warning in compare(runs).warnings)
