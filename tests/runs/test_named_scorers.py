"""Scorers that a config names: in a run, after it, when their code changed, moved, or came with somebody else's run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from rag_graph import Run, resume, train
from rag_graph.config import RunConfig, load_config
from rag_graph.errors import ConfigError, DataError
from rag_graph.own_code import digest_of
from rag_graph.runs.named_scorers import named_scorers, scorers_of_run
from rag_graph.runs.progress import StageProgress

Cli = Callable[..., CompletedProcess[str]]
GRAPH = """
format: 1
name: coloured
include: [parcels.yaml]
criteria:
  coloured: {title: "The answer names a colour", metric: external, applies_to: [summary]}
edges:
  - {from: coloured, to: summary, relation: supports, strength: 0.5}
"""
SCORER = "def coloured(episode):\n    return 0.25\n"
RETRIES = "def coloured(episode):\n    for _ in range(2):\n        return 0.25\n"
QUICK = (
    "sft.steps=1", "ppo.updates=3", "ppo.checkpoint_every=1", "data.train=8", "data.test=1", "reward.learn.method=none",
)  # fmt: skip


@pytest.fixture
def project(root: Path, small: tuple[str, ...], tmp_path: Path) -> Path:
    """A folder with a graph, a module of scorers, and a config that names one; and a run in `runs/` beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(root / "graphs/parcels.yaml", folder)
    (folder / "coloured.yaml").write_text(GRAPH)
    (folder / "my_scorers.py").write_text(SCORER)
    config = load_config(root / "experiments/quickstart/config.yaml", [*small, *QUICK])
    changes = {"graph": str(folder / "coloured.yaml"), "output_dir": str(tmp_path / "runs/run"), "scorers": {"coloured": "my_scorers:coloured"}}  # fmt: skip
    (folder / "run.yaml").write_text(config.model_copy(update=changes).to_yaml())
    return folder


def test_from_the_config_to_a_run_that_is_stopped_changed_moved_and_asked(
    project: Path, tmp_path: Path, stop_in: Any, run_cli: Cli
) -> None:
    run, module = tmp_path / "runs/run", project / "my_scorers.py"
    with pytest.raises(KeyboardInterrupt) as stop:
        train(project / "run.yaml", progress=stop_in("PPO", 2))
    assert stop.value.__notes__ == [f"What was written so far stays. To go on: rag-graph train --resume {run}"]
    assert Run(run).config.scorers == {"coloured": f"{module}:coloured"}, "the run folder says where the code is"
    first = json.loads((run / "manifest.json").read_text())
    assert first["scorer_files"]["coloured"]["sha256"] == digest_of(module)

    module.write_text(RETRIES)
    refused = run_cli("train", "--resume", run)
    assert refused.returncode == 1
    assert "--accept-changed coloured on the command line" in refused.stderr
    with pytest.raises(ConfigError, match=r"accept_changed .* colored: .* Did you mean 'coloured'\?"):
        resume(run, accept_changed=["colored"])
    done = run_cli("train", "--resume", run, "--accept-changed", "coloured")
    assert done.returncode == 0, done.stderr
    assert "greedy: mean" in done.stdout
    assert "Nodes, sampled answers: first" in done.stdout
    manifest = json.loads((run / "manifest.json").read_text())
    now = f"coloured#{digest_of(module)[:6]}"
    assert manifest["own_parts"]["scorers"] == {"coloured": now}
    (change,) = manifest["changed_parts"]
    assert (change["part"], change["was"], change["now"]) == (
        "coloured",
        first["own_parts"]["scorers"]["coloured"],
        now,
    )
    episodes = Run(run).episode_records()
    assert {one["scores"]["coloured"] for one in episodes if one["task"] == "summary"} == {0.25}

    asked = run_cli("ask", run, "anna bought a red kettle .", "--task", "summary", cwd=tmp_path)
    assert "coloured" in asked.stdout, asked.stderr
    assert "0.250" in asked.stdout
    module.rename(tmp_path / "my_scorers.py")
    gone = run_cli("evaluate", run, "--task", "summary")
    assert gone.returncode == 1
    assert f"there is no file {module} any more. Name the folder that has it now" in gone.stderr
    found = run_cli("evaluate", run, "--task", "summary", "--code", tmp_path)
    assert found.returncode == 0, found.stderr
    assert "Greedy answers" in found.stdout
    (row,) = Run(run, code=tmp_path).evaluate(task="summary").episodes
    assert row.scores["coloured"] == 0.25


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """What a run folder needs to be judged."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("name: x\n")
    return run


def test_code_that_comes_with_a_run_does_not_run(opened: Path, tmp_path: Path) -> None:
    """Neither named by its path, nor found beside the config of the run, nor through a link."""
    ran = tmp_path / "ran"
    evil = f"from pathlib import Path\nPath({str(ran)!r}).write_text('')\n{SCORER}"
    (opened / "evil.py").write_text(evil)
    (tmp_path / "link").symlink_to(opened)
    for reference in (f"{opened}/evil.py:coloured", f"{tmp_path}/link/evil.py:coloured", "evil.py:coloured"):
        with pytest.raises(
            DataError, match="is inside the run folder .* does not run by itself. Read it. Name the folder"
        ):
            scorers_of_run(opened, {"c": reference})
    (opened / "config.yaml").write_text("scorers: {c: 'evil:coloured'}\n")
    with pytest.raises(DataError, match="no module 'evil' is installed"):
        _ = Run(opened).own
    assert Run(opened).config.scorers == {"c": "evil:coloured"}, "its tables can be read"
    assert not ran.exists()
    own = Run(opened, code=opened).own
    assert not ran.exists(), "the code runs when it is needed"
    assert own.functions()["c"](None) == 0.25  # type: ignore[arg-type]
    assert ran.exists(), "said by the user, who has read it"


def test_code_of_another_user_in_a_run_of_another_user(
    opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(SCORER)
    reference = {"c": f"{tmp_path / 'theirs.py'}:coloured"}
    assert scorers_of_run(opened, reference)["c"].file == tmp_path / "theirs.py"
    owner = opened.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    with pytest.raises(DataError, match="are another user's, and such code does not run by itself"):
        scorers_of_run(opened, reference)


def test_a_function_may_be_given_for_one_that_the_config_names(opened: Path, tmp_path: Path) -> None:
    """It is known by its file, so the same function from the same file is the same part."""
    from rag_graph.own_code import load

    (tmp_path / "mine.py").write_text(SCORER)
    reference = f"{tmp_path / 'mine.py'}:coloured"
    (opened / "config.yaml").write_text(f"scorers: {{c: '{reference}'}}\n")
    named = Run(opened).own.names()
    assert named == {"scorers": {"c": f"coloured#{digest_of(tmp_path / 'mine.py')[:6]}"}}
    function = load(reference)
    (tmp_path / "mine.py").rename(tmp_path / "kept.py")
    shutil.copy(tmp_path / "kept.py", tmp_path / "mine.py")
    assert Run(opened, scorers={"c": function}).own.names() == named
    own = Run(opened, scorers={"c": lambda episode: 1.0}).own
    assert own.names() != named
    assert list(own.functions()) == ["c"]


def test_a_new_run_is_told_one_scorer_a_node(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCORER)
    (tmp_path / "run.yaml").write_text("scorers: {coloured: 'mine:coloured', other: 'mine.py:coloured'}\n")
    config = load_config(tmp_path / "run.yaml")
    found = named_scorers(config)
    assert {one.file for one in found.values()} == {tmp_path / "mine.py"}
    assert [one.load()(None) for one in found.values()] == [0.25, 0.25]
    with pytest.raises(
        ConfigError, match=r"scorers.coloured: the config names this scorer, and one was given in Python"
    ):
        train(config, scorers={"coloured": lambda episode: 1.0}, progress=StageProgress(quiet=True))
    with pytest.raises(ConfigError, match=r"mine.py has no 'colored'. Did you mean 'coloured'\?"):
        train(RunConfig(scorers={"coloured": f"{tmp_path / 'mine.py'}:colored"}))
    (tmp_path / "run.yaml").write_text("scorers: {a: 'nowhere:f', b: 'mine:coloured', c: 'neither:f'}\n")
    with pytest.raises(ConfigError, match=r"scorers.a: 'nowhere:f'.*\nscorers.c: 'neither:f': there is no module"):
        load_config(tmp_path / "run.yaml")


def test_a_dry_run_loads_the_code_and_names_it(project: Path, run_cli: Cli) -> None:
    shown = run_cli("train", project / "run.yaml", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    module = project / "my_scorers.py"
    assert f"# scorer of coloured: coloured#{digest_of(module)[:6]}, from {module}" in shown.stdout
    module.write_text("def other(episode):\n    return 1.0\n")
    refused = run_cli("train", project / "run.yaml", "--dry-run")
    assert refused.returncode == 2
    assert "has no 'coloured'. Its functions: other" in refused.stderr
