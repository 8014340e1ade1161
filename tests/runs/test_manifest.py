"""What is written down of where a run's numbers come from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from rag_graph.config import DataConfig, RewardConfig
from rag_graph.data.load import load_data
from rag_graph.errors import DataError
from rag_graph.graph import load_graph
from rag_graph.runs.manifest import check_data, manifest, saved_contexts


def test_the_manifest_says_where_a_number_came_from() -> None:
    record = manifest(7, ["rag-graph", "train"], {"topic/train": "abc"}, "c0ffee", "beef")
    assert record["seed"] == 7
    assert record["data"] == {"topic/train": "abc"}
    assert record["versions"]["numpy"] == numpy.__version__
    assert set(record["git"] or {"commit": "", "dirty": ""}) == {"commit", "dirty"}


def test_the_contexts_of_a_run_are_read_back(finished_run: Path) -> None:
    data = load_data(load_graph("parcels"), DataConfig(train=16, test=8), 0)
    for split, nodes in data.contexts.items():
        assert saved_contexts(finished_run, split) == nodes


def test_data_that_changed_are_named(finished_run: Path) -> None:
    written = json.loads((finished_run / "manifest.json").read_text())
    data = load_data(load_graph("parcels"), DataConfig(train=16, test=8), 0, reserved=RewardConfig().reserved)
    check_data(finished_run, written, data, "Restore them.")
    fewer = {name: value for name, value in data.hashes.items() if name != "summary/test"}
    other = replace(data, hashes={**fewer, "topic/train": "other"})
    with pytest.raises(
        DataError,
        match=r"changed since the run began: topic/train, summary/test \(their hashes are in manifest.json\)\. Restore them\.$",
    ):
        check_data(finished_run, written, other, "Restore them.")


def _git(folder: Path, *args: str) -> str:
    about = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, **about})
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("key", ["core.fsmonitor", "filter.x.clean", "core.hooksPath"])
def test_a_hostile_repository_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    program.chmod(0o755)
    where = tmp_path / "repository"
    where.mkdir()
    _git(where, "init", "-q")
    (where / "file").write_text("a")
    _git(where, "add", "file")
    _git(where, "commit", "-qm", "one")
    monkeypatch.chdir(where)
    commit = _git(where, "rev-parse", "HEAD")
    assert manifest(0, [], {}, "", "")["git"] == {"commit": commit, "dirty": False}
    _git(where, "config", key, str(program))
    (where / ".gitattributes").write_text("* filter=x\n")
    (where / "file").write_text("b")
    record = manifest(0, [], {}, "", "")["git"]
    assert not (tmp_path / "ran").exists()
    assert record == {"commit": commit, "dirty": None}
