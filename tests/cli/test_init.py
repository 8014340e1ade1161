"""`rag-graph init`: what it writes works as written, and nothing is overwritten."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import typer

from rag_graph.cli.app import app

Cli = Callable[..., CompletedProcess[str]]
FILES = {
    "run": {"README.md", "config.yaml", "goals.yaml", "sweep.yaml", "test.jsonl", "train.jsonl"},
    "reward": {"README.md", "answers.jsonl", "goals.yaml", "score.py"},
}


@pytest.fixture
def started(run_cli: Cli, tmp_path: Path) -> Callable[[str], Path]:
    def start(kind: str) -> Path:
        folder = tmp_path / kind
        done = run_cli("init", folder, "--kind", kind)
        assert done.returncode == 0, done.stderr
        return folder

    return start


@pytest.mark.parametrize("kind", FILES)
def test_the_files_are_written_and_the_graph_has_no_problem(
    run_cli: Cli, started: Callable[[str], Path], kind: str
) -> None:
    folder = started(kind)
    assert {path.name for path in folder.iterdir()} == FILES[kind]
    done = run_cli("graph", "check", "goals.yaml", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.startswith("goals.yaml: ok")  # without a warning


def test_a_run_is_the_default(run_cli: Cli, tmp_path: Path) -> None:
    done = run_cli("init", "new", cwd=tmp_path)
    assert {path.name for path in (tmp_path / "new").iterdir()} == FILES["run"]
    assert done.stdout.splitlines()[-1].startswith("Next: cd new; rag-graph train config.yaml")


@pytest.mark.parametrize("kind", FILES)
def test_nothing_is_overwritten(run_cli: Cli, tmp_path: Path, kind: str) -> None:
    (tmp_path / "goals.yaml").write_text("mine")
    done = run_cli("init", tmp_path, "--kind", kind)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}: holds goals.yaml already. Nothing was written. Choose another folder.\n"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("goals.yaml", "mine")]


def test_a_file_is_no_folder(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    done = run_cli("init", tmp_path / "x")
    assert done.returncode == 2
    assert "a file, not a folder" in done.stderr


def test_another_folder_may_hold_other_files(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run_cli("init", tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {*FILES["run"], "notes.txt"}


def test_the_run_trains(run_cli: Cli, started: Callable[[str], Path]) -> None:
    folder = started("run")
    short = ("sft.steps=2", "ppo.updates=1", "ppo.batch_size=8", "data.test=8", "device=cpu")
    done = run_cli("train", "config.yaml", *(word for text in short for word in ("--set", text)), cwd=folder)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "runs/tickets-seed0/results.json").read_text())
    assert {found["task"] for found in results["after"]["results"]} == {"team", "reply"}


@pytest.mark.slow
def test_the_run_learns_as_written(run_cli: Cli, started: Callable[[str], Path]) -> None:
    folder = started("run")
    assert run_cli("train", "config.yaml", cwd=folder).returncode == 0
    results = json.loads((folder / "runs/tickets-seed0/results.json").read_text())
    assert results["gain"]["low"] > 0.1


def test_the_sweep_is_of_ten_runs(run_cli: Cli, started: Callable[[str], Path]) -> None:
    done = run_cli("sweep", "sweep.yaml", "--dry-run", cwd=started("run"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("waiting ") == 10


def test_the_functions_score_and_the_table_holds_their_scores(started: Callable[[str], Path]) -> None:
    folder = started("reward")
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        script = runpy.run_path("score.py")
    assert len(out.getvalue().splitlines()) == 12
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    episodes = [one.episode for one in script["reward"].take_kept()]
    assert len(rows) == len(episodes) == 80
    for row, episode in zip(rows, episodes, strict=True):
        assert {node: row[node] for node in ("correct", "form", "brief") if row[node] is not None} == episode.scores
    scored = list(zip(episodes, script["paid"], strict=True))
    right, wrong = ([total for one, total in scored if one.scores.get("correct") == score] for score in (1, 0))
    assert 20 < len(right) + len(wrong) < 60
    assert min(right) > max(wrong)


def test_the_reward_starts_as_short_as_it_can(started: Callable[[str], Path]) -> None:
    folder = started("reward")
    script, graph = (folder / "score.py").read_text(), (folder / "goals.yaml").read_text()
    assert re.findall(r"^from rag_graph import (.*)$", script, re.MULTILINE) == ["GraphReward"]
    assert not re.findall(r"^ *(kind|prompt|metrics|metric):", graph, re.MULTILINE)


def test_the_logged_answers_can_be_fitted(run_cli: Cli, started: Callable[[str], Path]) -> None:
    folder = started("reward")
    done = run_cli("fit", "goals.yaml", "answers.jsonl", "--readouts", "flat", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "fits/answers/fit.json").read_text())["goals"] == {"correct": 44}


@pytest.mark.parametrize("kind", FILES)
def test_every_command_that_its_files_name_exists(started: Callable[[str], Path], kind: str) -> None:
    folder = started(kind)
    texts = [path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".yaml", ".py")]
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = {name for text in texts for name in re.findall(r"rag-graph ([a-z]+)\b", text)}
    assert named
    assert named <= set(known)
