"""Comparisons: the numbers against rliable and by hand, groups and pairs, warnings, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_graph import Run, compare, load_config, load_graph
from rag_graph.errors import ConfigError, DataError
from rag_graph.graph.exchange import to_yaml

TASKS = ("topic", "sentiment", "question", "summary")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write what a finished run leaves that a comparison reads: overrides, seed, scores after PPO -> its folder."""

    def write(name: str, seed: int, scores: dict[str, float] | float, *overrides: str, **manifest: Any) -> Path:
        folder = tmp_path / name / f"seed{seed}"
        folder.mkdir(parents=True)
        config = load_config(None, [*overrides, f"seed={seed}", f"output_dir={folder}"])
        after = scores if isinstance(scores, dict) else dict.fromkeys(TASKS, scores)
        (folder / "config.yaml").write_text(config.to_yaml())
        (folder / "graph.yaml").write_text(to_yaml(load_graph("parcels")))
        about = {
            "data": {"topic/test": f"hash{seed}"},
            "rag_graph": "0.1.0",
            "versions": {"torch": "2.13.0"},
            "git": {"commit": "a" * 40},
            "graph_hash": "g0",
            "own_parts": {},
            "started": f"2026-01-0{seed % 9 + 1}",
        }
        (folder / "manifest.json").write_text(json.dumps(about | manifest))
        results = [{"task": task, "metric": "accuracy", "value": value} for task, value in after.items()]
        part = {"task_scores": after, "results": results}
        (folder / "results.json").write_text(
            json.dumps({"before": {"task_scores": dict.fromkeys(after, 0.1)}, "after": part})
        )
        (folder / "status.json").write_text('{"status": "finished"}')
        (folder / "metrics.jsonl").write_text(
            "".join(json.dumps({"stage": "ppo", "update": u, "objective/kl": u / 10}) + "\n" for u in range(1, 21))
        )
        return folder

    return write  # fmt: skip


def test_arms_are_configs_and_pairs_are_seeds(make: Callable[..., Path]) -> None:
    rng = np.random.default_rng(1)
    folders = []
    for seed in range(6):
        level = rng.uniform(0.3, 0.7)  # seeds differ much more than arms: pairing sees through it
        folders.append(make("flat", seed, level, "reward.readout=flat", "name=a"))
        folders.append(make("prior", seed, level + 0.05 + 0.01 * (seed % 2), "name=b"))
    found = compare([*folders[1::2], *folders[::2]], baseline="readout=flat")
    assert [row.label for row in found.rows] == ["readout=flat", "readout=prior_gnn"]
    base, ours = found.rows
    assert base.difference is None
    assert ours.pairs == 6
    assert ours.difference is not None
    assert ours.difference.mean == pytest.approx(0.055)
    assert 0.05 <= ours.difference.low < ours.difference.high <= 0.06 + 1e-9
    assert base.mean.high - base.mean.low > 0.1, "unpaired they overlap"
    assert ours.mean.low < base.mean.high
    assert found.warnings == ()
    assert found.table().loc["readout=prior_gnn", "P(improvement)"] == ours.improvement


def test_metrics_by_name(make: Callable[..., Path]) -> None:
    run = make("a", 0, {"topic": 0.5, "summary": 0.9})
    assert compare([run]).rows[0].mean.mean == pytest.approx(0.7)
    assert compare([run], "gain").rows[0].mean.mean == pytest.approx(0.6)
    assert compare([run], "summary/accuracy").rows[0].mean.mean == pytest.approx(0.9)
    assert compare([run], "objective/kl").rows[0].mean.mean == pytest.approx(1.95), "the last tenth of twenty updates"
    with pytest.raises(DataError, match="no metric 'summary/acuracy'. Did you mean 'summary/accuracy'"):
        compare([run], "summary/acuracy")


@pytest.mark.parametrize(
    ("overrides", "manifest", "said"),
    [
        (["ppo.updates=60"], {}, r"Not at equal budget: episodes of PPO: 7,680 \(updates=120\); 3,840 \(updates=60\)"),
        (["reward.goal_observed=0.1"], {}, r"Not at equal budget: share of goals scored: 100% .*; 15%"),
        (["model.source=other"], {}, "Not at equal budget: policy: scratch"),
        (["reward.readout=flat"], {"data": {"topic/test": "another"}}, r"Not on the same data: 'readout=flat' and 'readout=prior_gnn' differ in topic/test \(seed 0\), topic/test \(seed 1\)"),
        (["reward.readout=flat"], {"versions": {"torch": "2.12.0"}}, "Other versions of: torch 2.12.0, 2.13.0"),
        (["reward.readout=flat"], {"git": {"commit": "b" * 40}}, r"Other code: 2 git commits \(aaaaaaaa, bbbbbbbb\)"),
    ],
)  # fmt: skip
def test_says_in_what_runs_are_not_comparable(
    make: Callable[..., Path], overrides: list[str], manifest: dict[str, Any], said: str
) -> None:
    runs = [make("a", seed, 0.5, "ppo.batch_size=64") for seed in (0, 1, 2)]
    runs += [make("b", seed, 0.6, "ppo.batch_size=64", *overrides, **manifest) for seed in (0, 1, 2)]
    found = compare(runs)
    assert len(found.warnings) == 1
    import re

    assert re.search(said, found.warnings[0]), found.warnings[0]
    assert found.warnings[0] in found.to_markdown()


def test_seeds_that_are_not_shared(make: Callable[..., Path]) -> None:
    ours = [make("a", seed, 0.5) for seed in (0, 1, 2, 3)]
    some = [make("b", seed, 0.6, "reward.readout=flat") for seed in (2, 3, 4)]
    none = [make("c", seed, 0.6, "reward.readout=ridge") for seed in (7, 8)]
    found = compare([*ours, *some, *none])
    flat = next(row for row in found.rows if "flat" in row.label)
    ridge = next(row for row in found.rows if "ridge" in row.label)
    assert flat.pairs == 2
    assert ridge.difference is None
    text = "\n".join(found.warnings)
    assert "share 2 of 5 seeds; the difference is of those" in text
    assert "share no seed: nothing can be paired" in text
    assert "Fewer than 3 seeds shared with" in text


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


def test_files_of_every_kind(run_cli: Callable[..., Any], make: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make("a", seed, 0.5)
        make("b", seed, 0.6 + seed / 100, "reward.readout=flat", "model.source=x_y|z")
    outs = [tmp_path / f"out{ending}" for ending in (".md", ".csv", ".tex", ".png")]
    to = [part for out in outs for part in ("--out", out)]
    done = run_cli("compare", f"{tmp_path}/*/*", "--baseline", tmp_path / "a/seed1", *to)
    assert done.returncode == 0, done.stderr
    assert "Not at equal budget" in done.stdout
    markdown, csv, latex = (out.read_text() for out in outs[:3])
    assert "x_y\\|z" in markdown
    assert "+0.110 [+0.100, +0.120]" in markdown
    assert r"x\_y|z" in latex
    assert latex.count(r"\\") == 3
    import pandas

    table = pandas.read_csv(outs[1])
    assert table["difference"].iloc[1] == pytest.approx(0.11)
    assert csv.startswith("arm,")
    assert outs[3].read_bytes().startswith(b"\x89PNG")
    wrong = run_cli("compare", tmp_path / "a/seed0", "--out", "x.doc")
    assert wrong.returncode == 2
    assert "unknown kind of table '.doc'. Known: .md, .csv, .tex, .png" in wrong.stderr


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
    assert row.improvement == 1.0
    assert row.difference is not None
    assert row.difference.mean == pytest.approx(0.05)
    other = [make("c", seed, {"w": 0.5, "x": 0.5}, "reward.readout=ridge") for seed in (0, 1, 2)]
    found = compare([*ours, *other])
    assert found.rows[1].difference is None
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


def test_uncommitted_changes_are_said(make: Callable[..., Path]) -> None:
    runs = [make("a", 0, 0.5), make("b", 0, 0.6, "reward.readout=flat", git={"commit": "a" * 40, "dirty": True})]
    assert any("changes that no commit has" in warning for warning in compare(runs).warnings)
