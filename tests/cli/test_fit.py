"""`rag-graph fit`: from a table to a page, numbers and a reward that a run starts from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_graph.cli.fit import _scales
from rag_graph.errors import ConfigError

GRAPH = """
format: 1
name: made
tasks:
  goal: {kind: generation, goal: 1.0, dataset: {path: t.jsonl}, metrics: {external: 1.0}, fields: {input: text, reference: answer}, prompt: "{input}"}
criteria:
  right: {metric: external}
  form: {metric: external}
edges:
  - {from: right, to: goal, relation: indicates}
  - {from: form, to: goal, relation: prerequisite, strength: 0.8}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A graph, and 210 rows whose `right` is from 1 to 5 and whose `form` is always 1."""
    (tmp_path / "g.yaml").write_text(GRAPH)
    rng = np.random.default_rng(0)
    lines = ["source,right,form,goal"]
    for row in range(210):
        right = int(rng.integers(1, 6))
        goal = f"{min(1.0, 0.15 * right + 0.1 * rng.random()):.3f}" if row % 3 else ""
        lines.append(f"s{row // 2},{right},1,{goal}")
    (tmp_path / "answers.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_it_writes_a_page_numbers_and_a_reward(run_cli: Callable[..., Any], files: Path) -> None:
    common = (files / "g.yaml", files / "answers.csv", "--group", "source", "--readouts", "flat", "--readout", "ridge")
    out = files / "out"
    done = run_cli("fit", *common, "--rescale", "right=1:5", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "210 answers with 140 observed goals, in 105 groups (grouped by source). Readout: ridge." in done.stdout
    assert "g.yaml:11: does nothing: form -> goal (prerequisite) lowers 0 of 210 rows, " in done.stdout
    assert f"--set reward.start_from={out} --set reward.readout=ridge\n" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["fit.html", "fit.json", "reward.json", "reward.safetensors"]
    numbers = json.loads((out / "fit.json").read_text())
    assert [score["readout"] for score in numbers["scores"]] == ["flat", "ridge"]
    assert numbers["scores"][1]["spearman"]["mean"] > 0.8
    again = run_cli("fit", *common, "--rescale", "right=1:5", "--out", out)
    assert again.returncode == 0, "an earlier fit is written over"
    wrong = run_cli("fit", *common, "--out", out)
    assert wrong.returncode == 1
    assert "node 'right': " in wrong.stderr
    assert "outside [0, 1]; they go from 1 to 5. Say which values become 0 and 1: --rescale right=1:5" in wrong.stderr


def test_a_run_starts_from_it(run_cli: Callable[..., Any], files: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"graph: {files / 'g.yaml'}\nreward: {{readout: ridge, start_from: {tmp_path / 'nowhere'}}}\n")
    done = run_cli("train", config, "--dry-run")
    assert done.returncode == 2
    assert f"reward.start_from: {tmp_path / 'nowhere'}: no such folder" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--readout", "rigde"), "--readout rigde: unknown. Did you mean 'ridge'?"),
        (("--rescale", "right"), "--rescale right: NODE=LOW:HIGH with two numbers is expected"),
        (("--out", "."), "it exists and holds no earlier fit"),
    ],
)
def test_wrong_options_are_told_at_once(
    run_cli: Callable[..., Any], files: Path, options: tuple[str, str], said: str
) -> None:
    done = run_cli("fit", files / "g.yaml", files / "answers.csv", *options)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_table_that_is_not_there(run_cli: Callable[..., Any], files: Path) -> None:
    done = run_cli("fit", files / "g.yaml", files / "no.csv", "--out", files / "new")
    assert done.returncode == 1
    assert "no.csv: no such file" in done.stderr


def test_scales_are_read() -> None:
    assert _scales(["a=1:5", "b=10:0", "c=-1:1"]) == {"a": (1, 5), "b": (10, 0), "c": (-1, 1)}
    with pytest.raises(ConfigError, match="--rescale a=1: NODE=LOW:HIGH"):
        _scales(["a=1"])


def test_a_judge_is_compared_with_people(run_cli: Callable[..., Any], files: Path) -> None:
    """Any criterion can be named as a judge; its agreement is on the page, in the numbers and in the text."""
    (files / "two.csv").write_text(
        "right,form,goal,response\n"
        + "".join(f"{n % 5 / 4},1,{n % 5 / 4},{'word ' * (n % 3 + 1)}\n" for n in range(40))
    )
    out = files / "out"
    done = run_cli(
        "fit",
        files / "g.yaml",
        files / "two.csv",
        "--readouts",
        "flat",
        "--readout",
        "ridge",
        "--judge",
        "right",
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "judge: 'right' against 'goal', 40 answers: it orders answers as people do, beyond chance: rank correlation 1.00 "
        in done.stdout
    )
    assert "judge: bias by position is not known: no column 'position' has two values\n" in done.stdout
    (check,) = json.loads((out / "fit.json").read_text())["judges"]
    assert (check["kappa"]["mean"], check["kappa"]["high"], check["rows"]) == (1.0, 1.0, 40)
    assert check["bias"]["mean"] == check["doubling"]["mean"] == 0
    page = (out / "fit.html").read_text()
    assert "weighted kappa on 5 marks" in page
    assert 'href="#judges"' in page
    none = run_cli("fit", files / "g.yaml", files / "two.csv", "--readouts", "flat", "--readout", "ridge", "--out", out)
    assert "judge:" not in none.stdout
    assert 'href="#judges"' not in (out / "fit.html").read_text()
    wrong = run_cli("fit", files / "g.yaml", files / "two.csv", "--judge", "goal", "--out", out)
    assert "judges: 'goal' is a goal, and a judge is compared with it." in wrong.stderr
