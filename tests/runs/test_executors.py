"""Runs as processes: the command of each, what is left to do, and exit codes."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from rag_graph.errors import TrainingError
from rag_graph.runs import executors
from rag_graph.runs.executors import command_of, is_open, log_of, run_here, run_on_ray, shown_state
from rag_graph.runs.folder import locked


def test_a_run_starts_from_the_config_beside_it_or_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "seed0"
    run.mkdir()
    train = [sys.executable, "-P", "-m", "rag_graph", "train"]  # -P: what lies in the working directory is not imported
    assert command_of(run) == [*train, str(tmp_path / "seed0.yaml")]
    (run / "manifest.json").write_text("{}")
    (tmp_path / "seed0.yaml").write_text("seed: 0\n")
    assert command_of(run) == [*train, "--resume", str(run)]
    (tmp_path / "seed0.yaml").write_text("model: {trust_remote_code: true}\n")
    assert command_of(run) == [*train, "--resume", str(run), "--trust-remote-code"]
    assert log_of(run) == tmp_path / "seed0.log"


def test_what_is_finished_or_worked_on_is_not_open(tmp_path: Path) -> None:
    assert is_open(tmp_path)
    with locked(tmp_path):
        assert not is_open(tmp_path)
    for status, state, is_left in (("finished", "finished", False), ("failed", "failed", True)):
        (tmp_path / "status.json").write_text(json.dumps({"status": status, "host": platform.node()}))
        assert (shown_state(tmp_path), is_open(tmp_path)) == (state, is_left)
    (tmp_path / "status.json").write_text("{")
    assert shown_state(tmp_path) == "damaged"


def test_each_process_has_its_log_and_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {tmp_path / "a": 0, tmp_path / "b": 3, tmp_path / "done": 0}
    for run in codes:
        run.mkdir()
    (tmp_path / "done/status.json").write_text('{"status": "finished"}')
    monkeypatch.setattr(
        executors,
        "command_of",
        lambda run: [sys.executable, "-c", f"print({run.name!r}); raise SystemExit({codes[run]})"],
    )
    assert dict(run_here(list(codes), 2)) == codes
    assert log_of(tmp_path / "a").read_text() == "a\n"
    assert not log_of(tmp_path / "done").exists(), "what another sweep finished is not started"


def test_a_cluster_that_is_not_there_is_said_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(TrainingError, match=r"ray_address ray://127.0.0.1:1: no Ray cluster answers there"):
        next(run_on_ray([], "ray://127.0.0.1:1", 1, 0))


LISTENING = """
import pathlib, sys
rows = [line.split() for name in ("tcp", "tcp6") for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
pathlib.Path(sys.argv[1]).write_text("\\n".join(row[1] for row in rows if row[3] == "0A"))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra: ray)")
@pytest.mark.skipif(
    not Path("/proc/net/tcp").is_file(), reason="the addresses that are listened on are read from /proc"
)
def test_a_ray_that_is_started_here_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    def look(name: str) -> set[str]:
        subprocess.run([sys.executable, "-c", LISTENING, str(tmp_path / name)], check=True)
        return set((tmp_path / name).read_text().split())

    before = look("before")
    code = (
        "import sys\nfrom pathlib import Path\nfrom rag_graph.runs import executors\n"
        f"executors.command_of = lambda run: [sys.executable, '-c', {LISTENING!r}, str(run)]\n"
        f"print(list(executors.run_on_ray([Path({str(tmp_path / 'during')!r})], None, 1, 0))[0][1])\n"
        "import os\nprint('statistics', os.environ['RAY_USAGE_STATS_ENABLED'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "statistics", "0"], done.stderr
    opened = set((tmp_path / "during").read_text().split()) - before
    assert opened, "nothing listens: this test looks at the wrong place"
    hosts = {address.partition(":")[0] for address in opened}
    assert hosts <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
