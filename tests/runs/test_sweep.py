"""Sweeps: what is planned, what is passed over, what goes on, and that one failure stops nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rag_graph.config import load_config
from rag_graph.errors import ConfigError, DataError
from rag_graph.runs.executors import log_of, shown_state
from rag_graph.runs.folder import locked
from rag_graph.runs.named_scorers import named_scorers
from rag_graph.runs.sweep import Sweep

Cli = Callable[..., subprocess.CompletedProcess[str]]
TOOL = str(Path(sys.executable).parent / "rag-graph")


@pytest.fixture
def write(root: Path, small: tuple[str, ...], tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "s.yaml", **content: object) -> Path:
        defaults = {
            "config": str(root / "experiments/quickstart/config.yaml"),
            "folder": str(tmp_path / "sweep"),
            "set": list(small),
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump({**defaults, **content}, sort_keys=False))
        return path

    return make


def test_the_grid_times_the_seeds(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(
        grid={
            "reward.readout": ["flat", "ridge"],
            "retrieval.learn.learning_rate": [1e-3],
            "ppo.learning_rate": [1e-4, 1e-5],
        },
        seeds=[3, 4],
    )
    runs = Sweep(file).runs
    assert len(runs) == 8
    assert len({run.path for run in runs}) == 8
    assert runs[0].arm == "readout=flat,retrieval.learn.learning_rate=0.001,ppo.learning_rate=0.0001"
    assert runs[0].path == tmp_path / "sweep" / runs[0].arm / "seed3"
    assert runs[3].config.reward.readout == "flat"
    assert runs[3].config.ppo.learning_rate == 1e-5
    assert [run.config.seed for run in runs] == [3, 4] * 4
    assert {shown_state(run.path) for run in runs} == {"waiting"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"grid": {"reward.readouts": ["flat"]}}, r"unknown key 'readouts'. Did you mean 'readout'"),
        ({"grid": {"reward.readout": []}}, r"'reward.readout' has no values"),
        ({"grid": {"seed": [1]}}, "state seeds under 'seeds'"),
        ({"set": ["seed=7"]}, "state seeds under 'seeds'"),
        ({"seeds": [0, 0]}, "a seed is stated twice"),
        ({"grid": {"reward.readout": ["flat", "flat"]}}, "two arms of the grid are the same"),
        ({"sed": [1]}, r"s\.yaml:\d+:\d+: sed: unknown key 'sed'"),
        ({"seeds": []}, "seeds"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml: no such file"),
    ],
)
def test_a_bad_file_is_refused_before_anything_runs(
    write: Callable[..., Path], tmp_path: Path, content: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Sweep(write(**content))
    assert not (tmp_path / "sweep").exists()


def test_one_failure_stops_nothing_and_again_goes_on(write: Callable[..., Path], run_cli: Cli, tmp_path: Path) -> None:
    file = write(grid={"data.train": [1, 16]}, seeds=[0])  # one passage is too little for a batch
    first = run_cli("sweep", file)
    assert first.returncode == 1
    assert f"failed: {tmp_path}/sweep/train=1/seed0" in first.stdout
    assert f"finished: {tmp_path}/sweep/train=16/seed0" in first.stdout
    assert "fewer than one PPO batch" in first.stdout, "why, from its log"
    assert (tmp_path / "sweep/comparison.md").is_file()
    assert (tmp_path / "sweep/train=16/seed0/report.html").is_file()
    kept = (tmp_path / "sweep/train=16/seed0/results.json").stat().st_mtime_ns
    again = run_cli("sweep", file)
    assert "2 runs in" in again.stdout
    assert "1 finished before" in again.stdout
    assert (tmp_path / "sweep/train=16/seed0/results.json").stat().st_mtime_ns == kept
    other = write(grid={"data.train": [1, 16]}, seeds=[0], set=["ppo.updates=7"])
    with pytest.raises(ConfigError, match=r"holds a run of other settings than .*s\.yaml asks for"):
        Sweep(other)


def test_no_two_arms_meet_in_one_folder(write: Callable[..., Path], tmp_path: Path, root: Path) -> None:
    for name in ("g/x.yaml", "g_x.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((root / "graphs/parcels.yaml").read_text())
    file = write(
        grid={"graph": [str(tmp_path / "g/x.yaml"), str(tmp_path / "g_x.yaml"), "parcels", "parcels.yaml" * 30]},
        seeds=[0],
        folder=str(tmp_path / "sw 😀"),
    )
    runs = Sweep(file).runs
    assert len({run.path for run in runs}) == 4
    assert all(len(run.path.parent.name.encode()) < 200 for run in runs)


def test_a_run_that_another_process_works_on_is_left_alone(
    write: Callable[..., Path], run_cli: Cli, tmp_path: Path
) -> None:
    file = write(seeds=[0])
    (run,) = Sweep(file).runs
    run.path.mkdir(parents=True)
    (run.path / "status.json").write_text(json.dumps({"status": "running", "host": platform.node()}))
    with locked(run.path):
        done = run_cli("sweep", file)
        assert "1 left to another process" in done.stdout
        assert shown_state(run.path) == "running"
        again = run_cli("train", "--resume", run.path)
        assert again.returncode == 1
    assert (run.path / "status.json").is_file(), "nothing was cleared away"
    assert shown_state(run.path) == "stopped"


def test_a_second_sweep_of_the_same_folder_says_so(
    write: Callable[..., Path], run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_graph.runs.folder.LOOK_S", 0.1)
    sweep = Sweep(write(grid={}, seeds=[0]))
    sweep.folder.mkdir(parents=True)
    with locked(sweep.folder):
        with pytest.raises(DataError, match="another process is working on this sweep. Wait for it, or stop it."):
            sweep.run()
        assert [path.name for path in sweep.folder.iterdir()] == [".lock"], "nothing was touched"


def test_scorers_that_the_config_names_are_found_beside_it(
    root: Path, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process of a run starts elsewhere, from the config that the sweep wrote; on Ray too."""
    (tmp_path / "mine.py").write_text("def one(episode):\n    return 0.5\n\n\ndef other(episode):\n    return 0.75\n")
    base = (root / "experiments/quickstart/config.yaml").read_text()
    (tmp_path / "run.yaml").write_text(base + "scorers: {well_formed: 'mine:one'}\n")
    content = {"config": "run.yaml", "folder": str(tmp_path / "sweep"), "seeds": [0], "grid": {"scorers.well_formed": ["mine:one", "mine:other"]}}  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    sweep = Sweep(tmp_path / "s.yaml")
    assert [run.arm for run in sweep.runs] == ["well_formed=mine:one", "well_formed=mine:other"]
    sweep.start()
    monkeypatch.chdir("/")
    for run, value in zip(sweep.runs, (0.5, 0.75), strict=True):
        config = load_config(run.path.with_suffix(".yaml"))
        assert config.scorers["well_formed"].startswith(f"{tmp_path / 'mine.py'}:")
        assert named_scorers(config)["well_formed"].load()(None) == value
    assert len({run.config.fingerprint() for run in sweep.runs}) == 2


@pytest.mark.slow
def test_ctrl_c_and_again_ends_as_if_it_had_not_been_stopped(
    write: Callable[..., Path], small: tuple[str, ...], tmp_path: Path
) -> None:
    long = [*small, "ppo.updates=30"]
    file = write(set=long, seeds=[0, 1], parallel=1)
    process = subprocess.Popen([TOOL, "sweep", str(file)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    first = tmp_path / "sweep/all/seed0"
    while not list(first.glob("checkpoint-*")):  # the time limit of the test ends a run that never begins
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "run the same command to go on" in said
    assert json.loads((first / "status.json").read_text())["status"] == "interrupted"
    assert not (tmp_path / "sweep/all/seed1").exists(), "what waited did not start"
    done = subprocess.run([TOOL, "sweep", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed" in json.loads((first / "manifest.json").read_text())
    assert {shown_state(run.path) for run in Sweep(file).runs} == {"finished"}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra: ray)")
def test_ray_runs_them_too(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(grid={"data.train": [1, 16]}, seeds=[0], executor="ray")
    done = subprocess.run([TOOL, "sweep", str(file)], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert f"failed: {tmp_path}/sweep/train=1/seed0" in done.stdout
    assert json.loads((tmp_path / "sweep/train=16/seed0/status.json").read_text())["status"] == "finished"
    assert "fewer than one PPO batch" in (tmp_path / "sweep/train=1/seed0.log").read_text()
    nowhere = write("other.yaml", folder=str(tmp_path / "other"), executor="ray", ray_address="127.0.0.1:1", seeds=[0])
    wrong = subprocess.run([TOOL, "sweep", str(nowhere)], capture_output=True, text=True, timeout=600)
    assert wrong.returncode == 1
    assert "no Ray cluster answers there" in wrong.stderr


def test_a_log_is_not_written_through_a_link(write: Callable[..., Path], tmp_path: Path) -> None:
    sweep = Sweep(write(seeds=[0]))
    (run,) = sweep.runs
    run.path.parent.mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    log_of(run.path).symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match="a link, and a run writes only to files of its own folder"):
        sweep.run()
    assert (tmp_path / "victim").read_text() == "precious"
