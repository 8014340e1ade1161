"""Every experiment states its claim, its command, its cost and the bounds of its reduced run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = sorted(path.parent.name for path in (Path(__file__).parents[2] / "experiments").glob("*/README.md"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_it_says_what_it_claims_and_what_it_costs(
    experiment: str, expected: Callable[[str], dict[str, Any]], root: Path
) -> None:
    content = expected(experiment)
    assert set(content) == {"claim", "command", "cost", "numbers", "tolerance", "reduced"}
    assert set(content["reduced"]) == {"what", "bounds"}
    assert content["numbers"]
    assert content["reduced"]["bounds"]
    readme = (root / "experiments" / experiment / "README.md").read_text()
    for heading in ("**Claim.**", "**Command.**", "**Cost.**", "**Checked by**"):
        assert heading in readme
    script = next(word for word in content["command"].split() if word.startswith("experiments/"))
    assert (root / script).is_file()


def test_a_number_out_of_bounds_is_named(check_reduced: Callable[[str, Mapping[str, float]], None]) -> None:
    with pytest.raises(AssertionError, match="planted: expected_goal is 0.200, expected at least 0.9"):
        check_reduced("planted", {"expected_goal": 0.2, "ridge": 0.1, "goal_only": 0.1, "flat": 0.0})
    with pytest.raises(AssertionError, match="expected_goal - ridge is 0.000"):
        check_reduced("planted", {"expected_goal": 0.95, "ridge": 0.95, "goal_only": 0.1, "flat": 0.0})
