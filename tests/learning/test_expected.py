"""Every experiment states its claim, its command, its cost and its numbers; stored results say the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.expected import ROOT, check_reduced, expected

EXPERIMENTS = sorted(path.parent.name for path in ROOT.glob("experiments/*/README.md"))


def stored(experiment: str) -> Any:
    return json.loads((ROOT / "experiments" / experiment / "results.json").read_text())


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_it_says_what_it_claims_and_what_it_costs(experiment: str) -> None:
    content = expected(experiment)
    assert set(content) == {"claim", "command", "cost", "numbers", "tolerance", "reduced"}
    assert set(content["reduced"]) == {"what", "bounds"}
    assert content["numbers"]
    assert content["reduced"]["bounds"]
    readme = (ROOT / "experiments" / experiment / "README.md").read_text()
    for heading in ("**Claim.**", "**Command.**", "**Cost.**", "**Checked by**"):
        assert heading in readme
    script = next(word for word in content["command"].split() if word.startswith("experiments/"))
    assert Path(ROOT / script).is_file()


def test_stored_results_say_the_expected_numbers() -> None:
    planted = {
        (c["arm"], c["graph"]): c["mean"]
        for c in stored("planted")
        if (c["p"], c["task"], c["policy"]) == (0.03, "trap", "tabular")
    }
    for name, number in expected("planted")["numbers"].items():
        arm, _, wrong = name.partition(",")
        assert planted[arm, "wrong" if wrong else "right"] == pytest.approx(number, abs=6e-4)
    cotrain = stored("cotrain")
    for arm, number in expected("cotrain")["numbers"].items():
        scores = [row["score"] for row in cotrain if row["arm"] == arm]
        assert sum(scores) / len(scores) == pytest.approx(number, abs=6e-4)
    for method, number in expected("multihop")["numbers"].items():
        assert stored("multihop")["methods"][method]["recall@5"]["mean"]["mean"] == pytest.approx(number, abs=1e-3)


def test_a_number_out_of_bounds_is_named() -> None:
    with pytest.raises(AssertionError, match="planted: prior_gnn is 0.200, expected at least 0.9"):
        check_reduced("planted", {"prior_gnn": 0.2, "ridge": 0.1, "goal_only": 0.1, "flat": 0.0})
    with pytest.raises(AssertionError, match="prior_gnn - ridge is 0.000"):
        check_reduced("planted", {"prior_gnn": 0.95, "ridge": 0.95, "goal_only": 0.1, "flat": 0.0})
