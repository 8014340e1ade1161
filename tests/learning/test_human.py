"""Human judgements: splits are honest, measures are right, and the default readout keeps up with the best baseline of a few cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_graph.evaluation.agreement import spearman


@pytest.fixture
def human(experiment: Callable[[str], Any]) -> Any:
    """The modules of the experiment, by name."""
    return experiment("human")


@pytest.fixture
def table(human: Any, tmp_path: Path) -> Any:
    """120 rows of 40 sources: the goal is the least of two scores that bound it; a third is noise."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        a, b, noise = rng.integers(0, 4, 3) / 3
        scores = {"a": float(a), "b": float(b), "noise": float(noise)}
        rows.append({"id": str(i), "group": f"s{i // 3}", "scores": scores, "goal": float(min(a, b))})
    (tmp_path / "made.dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    beliefs = {"made": {"bounds": ["a", "b"], "indicates": ["noise"], "against": []}}
    (tmp_path / "beliefs.json").write_text(json.dumps(beliefs))
    return human.data.load(tmp_path, "made")


def test_the_graph_says_what_the_beliefs_say(table: Any) -> None:
    assert [(edge.source, edge.relation, edge.target) for edge in table.graph.spec.edges] == [
        ("a", "bounds", "goal"), ("b", "bounds", "goal"), ("noise", "indicates", "goal"),
    ]  # fmt: skip


def test_a_split_cuts_between_sources_and_shows_at_most_half_of_the_goals(human: Any, table: Any) -> None:
    part = human.data.split(table, 3, goals=128, hidden=0.5)
    assert (len(part.train), len(part.test)) == (72, 48), "60% of 40 sources of three rows"
    assert len(part.labelled) == len(set(part.labelled.tolist())) == 36
    assert all((part.test_group == group).sum() == 3 for group in set(part.test_group.tolist()))
    assert 0.4 < np.isnan(part.train).mean() < 0.6
    assert not np.isnan(human.data.split(table, 3, goals=8, hidden=0.0).test).any()


def test_a_conjunction_that_the_file_states_needs_few_goals(human: Any, table: Any) -> None:
    part = human.data.split(table, 0, goals=8, hidden=0.0)
    found = {}
    for name in ("expected_goal", "ridge"):
        reward = human.fit.fitted(table, part, name, 0)
        found[name] = spearman(human.fit.pay(reward, table, part), part.test_goal)
    assert found["expected_goal"] > 0.97 > found["ridge"] + 0.05


def test_cells_name_the_best_baseline_and_pair_by_split(human: Any) -> None:
    rows = [
        {"set": "x", "hidden": 0.0, "goals": 8, "seed": seed, "spearman": {"expected_goal": ours, "flat": 0.5, "ridge": other}}
        for seed, ours, other in ((0, 0.7, 0.6), (1, 0.5, 0.6))
    ]  # fmt: skip
    (cell,) = human.run.cells(rows, "spearman")
    assert cell["best"] == "ridge"
    assert cell["gap"] == pytest.approx(0.0)
    assert cell["error"] == pytest.approx(0.1)


@pytest.mark.slow
def test_the_default_keeps_up_with_the_best_baseline(human: Any, check_reduced: Callable[..., None]) -> None:
    """Three cells of frank at reduced size; the numbers of expected.json."""
    if human.data.folder() is None:
        pytest.skip("human_labels is not under $RAG_GRAPH_DATA")
    readouts = ("expected_goal", "flat", "product", "ridge")
    rows = [
        r for goals in (8, 32, 128) for r in human.run.measure("frank", "dev", goals, 0.5, [100, 101, 102], readouts)
    ]
    cells = human.run.cells(rows, "spearman")
    check_reduced(
        "human", {"worst_gap": min(cell["gap"] for cell in cells), "covered": np.mean([r["covered"] for r in rows])}
    )
