"""Folders of runs: claimed once, locked by one process, and honest about their state."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rag_graph.errors import ConfigError, DataError
from rag_graph.runs.folder import claim_folder, is_locked, locked, state_of
from rag_graph.runtime import write_atomically, write_json


def test_a_run_never_writes_over_another(tmp_path: Path) -> None:
    taken = tmp_path / "run"
    write_atomically(claim_folder(str(taken), "unused") / "config.yaml", "a: 1")
    with pytest.raises(ConfigError, match="exists already, and a run never writes over another"):
        claim_folder(str(taken), "unused")
    assert (taken / "config.yaml").read_text() == "a: 1"


def _claim(path: str, start: threading.Barrier) -> bool:
    start.wait()
    try:
        claim_folder(path, "unused")
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_runs_that_claim_one_folder_at_once_one_gets_it(tmp_path: Path, exists: bool) -> None:
    start = threading.Barrier(4)  # threads meet in the same calls of the system as processes do
    with ThreadPoolExecutor(4) as pool:
        for number in range(100):
            path = tmp_path / str(number)
            if exists:
                path.mkdir()
            assert sum(pool.map(lambda _, path=path: _claim(str(path), start), range(4))) == 1


def test_default_names_are_numbered(tmp_path: Path) -> None:
    base = str(tmp_path / "runs/quickstart-seed0")
    names = [claim_folder(None, base).name for _ in range(3)]
    assert names == ["quickstart-seed0", "quickstart-seed0-2", "quickstart-seed0-3"]


def test_a_run_is_locked_by_one_process_and_looking_takes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            assert is_locked(tmp_path) in (True, False)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(50):  # somebody who looks never keeps the run from its work
            with locked(tmp_path):
                pass
    finally:
        stop.set()
        watcher.join()
    code = f"from pathlib import Path; from rag_graph.runs.folder import is_locked; print(is_locked(Path({str(tmp_path)!r})))"
    with locked(tmp_path):
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "True"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_state_of_a_folder(tmp_path: Path) -> None:
    assert state_of(tmp_path) == "waiting"
    write_json(tmp_path / "status.json", {"status": "running", "host": platform.node()})
    assert state_of(tmp_path) == "stopped", "no process works on it"
    with locked(tmp_path):
        assert state_of(tmp_path) == "running"
    write_json(tmp_path / "status.json", {"status": "running", "host": "elsewhere"})
    assert state_of(tmp_path) == "running", "of another machine one cannot know"
    write_json(tmp_path / "status.json", {"status": "failed", "error": "x"})
    assert state_of(tmp_path) == "failed"
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(DataError, match="status.json: not valid JSON"):
        state_of(tmp_path)
