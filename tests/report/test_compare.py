"""Comparisons: the numbers against rliable and by hand, groups and pairs, warnings, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rag_graph import Run, compare
from rag_graph.errors import ConfigError, DataError

TASKS = ("topic", "sentiment", "question", "summary")


def test_arms_are_configs_and_pairs_are_seeds(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(1)
    folders = []
    for seed in range(6):
        level = rng.uniform(0.3, 0.7)  # seeds differ much more than arms: pairing sees through it
        folders.append(make("flat", seed, level, "reward.readout=flat", "name=a"))
        folders.append(make("prior", seed, level + 0.05 + 0.01 * (seed % 2), "name=b"))
    found = compare([*folders[1::2], *folders[::2]], baseline="readout=flat")
    assert [row.label for row in found.rows] == ["readout=flat", "readout=expected_goal"]
    base, ours = found.rows
    assert base.versus is None
    versus = ours.versus
    assert versus is not None
    assert versus.pairs == 6
    theirs = stats.ttest_1samp([0.05, 0.06] * 3, 0)
    assert versus.difference == pytest.approx((0.055, *theirs.confidence_interval(0.95)))
    assert versus.p == pytest.approx(theirs.pvalue, rel=1e-4)
    assert 0.005 < versus.detectable < 0.01
    assert base.mean.high - base.mean.low > 0.1, "unpaired they overlap"
    assert ours.mean.low < base.mean.high
    assert found.warnings == ()
    assert found.table().loc["readout=expected_goal", "P(improvement)"] == versus.improvement


def test_several_arms_are_judged_together(make: Callable[..., Path]) -> None:
    """Two differences: the interval of each at 97.5%, and Holm's p values."""
    rng = np.random.default_rng(0)
    base, first, second = rng.uniform(0.4, 0.6, (3, 5))
    for seed in range(5):
        make("a", seed, base[seed])
        make("b", seed, first[seed], "reward.readout=flat")
        make("c", seed, second[seed], "reward.readout=ridge")
    found = compare([make("a", 5, 0.5).parent.parent], baseline="readout=expected_goal")
    versus = {row.label: row.versus for row in found.rows if row.versus}
    tests = {"readout=flat": stats.ttest_rel(first, base), "readout=ridge": stats.ttest_rel(second, base)}
    least = min(tests, key=lambda label: tests[label].pvalue)
    for label, test in tests.items():
        expected = 2 * test.pvalue if label == least else max(test.pvalue, 2 * tests[least].pvalue)
        assert versus[label].p == pytest.approx(min(1, expected))
        low, high = test.confidence_interval(0.975)
        assert versus[label].difference[1:] == pytest.approx((low, high))
    assert "for all 2 differences together: intervals by Bonferroni, p by Holm" in found.caption
    assert not any("Only" in warning for warning in found.warnings), "five pairs are enough"


def test_few_seeds_are_said_in_one_line_with_what_they_can_find(make: Callable[..., Path]) -> None:
    """Differences .1, .2, .3 have a standard error of .0577; 5.65 of these are found with 80% power (2 degrees of freedom)."""
    for seed in range(3):
        make("a", seed, 0.5)
        make("b", seed, 0.6 + seed / 10, "reward.readout=flat")
    folder = make("c", 0, 0.5, "reward.readout=ridge")
    found = compare([folder.parent.parent / "a", folder.parent.parent / "b"], baseline="readout=expected_goal")
    (warning,) = found.warnings
    assert warning == (
        "Only 3 seeds (readout=expected_goal; readout=flat): with fewer than 5, one unusual seed decides the interval. "
        "A true difference from readout=expected_goal is found with 80% power if it is at least 0.326 (readout=flat)."
    )
    (alone,) = compare([folder]).warnings
    assert alone == "Only 1 seed (readout=ridge): with fewer than 5, one unusual seed decides the interval.".replace(
        "readout=ridge", compare([folder]).baseline
    )


def test_metrics_by_name(make: Callable[..., Path]) -> None:
    run = make("a", 0, {"topic": 0.5, "summary": 0.9})
    assert compare([run]).rows[0].mean.mean == pytest.approx(0.7)
    assert compare([run], "gain").rows[0].mean.mean == pytest.approx(0.6)
    assert compare([run], "summary/accuracy").rows[0].mean.mean == pytest.approx(0.9)
    assert compare([run], "objective/kl").rows[0].mean.mean == pytest.approx(1.95), "the last tenth of twenty updates"
    with pytest.raises(DataError, match="no metric 'summary/acuracy'. Did you mean 'summary/accuracy'"):
        compare([run], "summary/acuracy")


def test_an_own_readout_is_another_arm(make: Callable[..., Path]) -> None:
    runs = [make("a", 0, 0.5), make("b", 0, 0.6, own_parts={"readout": "weakest"})]
    assert [row.label for row in compare(runs).rows] == ["own.readout=None", "own.readout=weakest"]


def test_another_graph_of_the_same_name_is_another_arm(make: Callable[..., Path]) -> None:
    runs = [make("a", 0, 0.5), make("b", 0, 0.6, graph_hash="g1")]
    assert [row.label for row in compare(runs).rows] == ["graph=parcels#g0", "graph=parcels#g1"]


def test_unfinished_and_doubled_runs_are_said(make: Callable[..., Path], tmp_path: Path) -> None:
    first, second, third = (
        make("a", 0, 0.5, started="2026-01-01"),
        make("b", 0, 0.7, started="2026-01-02"),
        make("c", 1, 0.5),
    )
    (third / "results.json").unlink()
    (third / "status.json").write_text('{"status": "failed"}')
    found = compare([first, second, third])
    assert found.rows[0].mean.mean == pytest.approx(0.7)
    assert any("the newer one counts" in warning for warning in found.warnings)
    assert any("has not finished (failed) and is left out" in warning for warning in found.warnings)
    with pytest.raises(DataError, match="no finished run among"):
        compare([third])
    with pytest.raises(DataError, match="no such run folder, and nothing matches it"):
        compare([tmp_path / "nothing-*"])
    with pytest.raises(ConfigError, match="no arm of that name"):
        compare([first], baseline="readout=flatt")


def test_a_real_run_compares(finished_run: Path) -> None:
    row = compare([Run(finished_run)]).rows[0]
    results = Run(finished_run).results
    assert results is not None
    assert row.mean.mean == pytest.approx(results["after"]["mean_task_score"]["mean"])


def test_tasks_meet_by_name(make: Callable[..., Path]) -> None:
    scores = {"topic": 0.9, "summary": 0.2}
    ours = [make("a", seed, scores) for seed in (0, 1, 2)]
    theirs = [make("b", seed, {"summary": 0.25, "topic": 0.95}, "reward.readout=flat") for seed in (0, 1, 2)]
    row = compare([*ours, *theirs]).rows[1]
    assert row.versus is not None
    assert row.versus.improvement == 1.0
    assert row.versus.difference.mean == pytest.approx(0.05)
    other = [make("c", seed, {"w": 0.5, "x": 0.5}, "reward.readout=ridge") for seed in (0, 1, 2)]
    found = compare([*ours, *other])
    assert found.rows[1].versus is None
    assert any("Not the same tasks" in warning for warning in found.warnings)


def test_a_value_that_is_no_number_leaves_its_run_out(make: Callable[..., Path]) -> None:
    good, bad = make("a", 0, 0.5), make("a", 1, {**dict.fromkeys(TASKS, 0.5), "topic": None})  # type: ignore[dict-item]
    found = compare([good, bad])
    assert found.rows[0].seeds == (0,)
    assert any("has no value of score and is left out" in warning for warning in found.warnings)
    with pytest.raises(DataError, match="no run has a value of score"):
        compare([bad])


def test_where_and_on_what_it_ran_makes_no_arm(make: Callable[..., Path], tmp_path: Path) -> None:
    one, two = make("a", 0, 0.5), make("b", 1, 0.6, "device=cpu", f"graph={tmp_path}/parcels.yaml")
    assert len(compare([one, two]).arms) == 1


def test_a_sweeps_folder_stands_for_its_runs(make: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make("sweep/readout=flat", seed, 0.5, "reward.readout=flat")
        make("sweep/readout=ridge", seed, 0.6, "reward.readout=ridge")
    (tmp_path / "sweep/readout=flat/seed0.log").write_text("")
    for wanted in ([tmp_path / "sweep"], [f"{tmp_path}/sweep/*"], [f"{tmp_path}/sweep/**"]):
        assert [len(arm.runs) for arm in compare(wanted).arms] == [3, 3]
    (tmp_path / "sweep/readout=flat/seed0/results.json").write_text("{")
    found = compare([tmp_path / "sweep"])
    assert any("seed0 cannot be read and is left out" in warning for warning in found.warnings)


def test_what_changes_no_result_is_no_arm(make: Callable[..., Path]) -> None:
    folders = [make("a", 0, 0.5, "ppo.checkpoint_every=5"), make("b", 1, 0.5, "report_to=[tensorboard]", "device=cpu")]
    folders.append(make("c", 2, 0.5, "reward.max_bad_episodes=0.5", "name=c"))
    (row,) = compare(folders).rows
    assert row.seeds == (0, 1, 2)


def test_a_scorer_of_the_config_is_known_by_its_code_not_by_its_folder(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    def scored(name: str, seed: int, digest: str, **more: Any) -> Path:
        (tmp_path / f"{name}-code").mkdir(exist_ok=True)
        (tmp_path / f"{name}-code/mine.py").write_text("def polite(episode): return 1.0")
        override = f"scorers.polite={tmp_path}/{name}-code/mine.py:polite"
        return make(name, seed, 0.5, override, own_parts={"scorers": {"polite": digest}}, **more)

    folders = [scored("a", 0, "polite#1"), scored("b", 1, "polite#1"), scored("c", 0, "polite#2")]
    changed = [{"when": "then", "part": "polite", "was": "polite#1", "now": "polite#2"}]
    folders.append(scored("d", 1, "polite#2", changed_parts=changed))
    found = compare(folders)
    assert [(row.label, row.seeds) for row in found.rows] == [
        ("polite=polite#1", (0, 1)),
        ("polite=polite#2", (0,)),
        ("polite=polite#1 then polite#2", (1,)),
    ]
