"""Checkpoints are whole or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rag_graph.errors import TrainingError
from rag_graph.ppo.checkpoints import (
    check_checkpoint,
    list_checkpoints,
    newest_checkpoint,
    random_state,
    restore_random_state,
    write_checkpoint,
)
from rag_graph.state_file import load_state, save_state

ABOUT = {"model": "m", "seed": 1}


def write(folder: Path, step: int, keep: int | None = None, **about: Any) -> Path:
    def fill(inside: Path) -> None:
        (inside / "deep").mkdir()
        (inside / "deep" / "weights.bin").write_bytes(bytes(range(256)) * step)
        save_state(inside, "state", {"step": step})

    return write_checkpoint(folder, step, fill, {**ABOUT, **about}, keep)


def test_the_newest_is_found_and_old_ones_are_deleted(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        write(tmp_path, step)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-9", "checkpoint-2"]
    assert newest_checkpoint(tmp_path, ABOUT) == tmp_path / "checkpoint-10"
    assert check_checkpoint(tmp_path / "checkpoint-9", ABOUT) == 9
    write(tmp_path, 11, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-11", "checkpoint-10"]
    assert newest_checkpoint(tmp_path / "nowhere", ABOUT) is None


def missing_file(path: Path) -> None:
    (path / "deep/weights.bin").unlink()


def cut_file(path: Path) -> None:
    content = (path / "deep/weights.bin").read_bytes()
    (path / "deep/weights.bin").write_bytes(content[:-1])


def flipped_bit(path: Path) -> None:
    content = bytearray((path / "deep/weights.bin").read_bytes())
    content[100] ^= 1
    (path / "deep/weights.bin").write_bytes(bytes(content))


def no_description(path: Path) -> None:
    (path / "checkpoint.json").unlink()


def cut_description(path: Path) -> None:
    (path / "checkpoint.json").write_text((path / "checkpoint.json").read_text()[:40])


def deep_description(path: Path) -> None:
    (path / "checkpoint.json").write_text("[" * 100_000 + "]" * 100_000)


def odd_description(path: Path) -> None:
    description = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**description, "files": [[1, 2]]}))


def other_format(path: Path) -> None:
    description = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**description, "format": "other/3"}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (missing_file, "deep/weights.bin is missing: the checkpoint is torn"),
        (cut_file, "deep/weights.bin is not what was written: the checkpoint is torn"),
        (flipped_bit, "deep/weights.bin is not what was written: the checkpoint is torn"),
        (no_description, "no checkpoint of this trainer: it has no checkpoint.json"),
        (cut_description, "checkpoint.json cannot be read"),
        (deep_description, "checkpoint.json cannot be read"),
        (odd_description, "checkpoint.json does not describe a checkpoint"),
        (other_format, r"another format \('other/3'\)"),
    ],
)
def test_torn_and_foreign_ones_are_refused_by_name_and_passed_over(tmp_path: Path, damage: Any, reason: str) -> None:
    write(tmp_path, 1)
    damage(write(tmp_path, 2))
    with pytest.raises(TrainingError, match=rf"checkpoint-2: .*{reason}"):
        check_checkpoint(tmp_path / "checkpoint-2", ABOUT)
    with pytest.warns(RuntimeWarning, match=rf"checkpoint-2: .*{reason}.* It is passed over"):
        assert newest_checkpoint(tmp_path, ABOUT) == tmp_path / "checkpoint-1"


def test_a_checkpoint_of_another_run_says_in_what_it_differs(tmp_path: Path) -> None:
    path = write(tmp_path, 1, seed=5)
    with pytest.raises(TrainingError, match="written by another run: its seed is 5, here it is 1"):
        check_checkpoint(path, ABOUT)


def test_a_write_that_fails_leaves_the_older_ones_and_nothing_half_done(tmp_path: Path) -> None:
    write(tmp_path, 1)

    def fail(inside: Path) -> None:
        (inside / "part").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match="checkpoint-2: cannot be written: .*No space left"):
        write_checkpoint(tmp_path, 2, fail, ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-7.writing").mkdir()
    (tmp_path / ".checkpoint-7.writing" / "part").write_text("x")
    assert newest_checkpoint(tmp_path, ABOUT) is None
    write(tmp_path, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"]


@pytest.mark.parametrize("moment", ["before the new one came", "after"])
def test_a_checkpoint_that_is_written_again_survives_a_kill(tmp_path: Path, moment: str) -> None:
    """As a killed process would leave it: the old one renamed, the new one not there yet, or there already."""
    path = write(tmp_path, 3)
    content = (path / "state.json").read_text()
    path.rename(tmp_path / ".checkpoint-3.replaced")
    if moment == "after":
        write(tmp_path / "elsewhere", 3).rename(path)
    assert newest_checkpoint(tmp_path, ABOUT) == path
    assert (path / "state.json").read_text() == content
    assert not (tmp_path / ".checkpoint-3.replaced").exists()
    write(tmp_path, 3)
    assert check_checkpoint(path, ABOUT) == 3


def test_what_is_not_ours_is_neither_deleted_nor_counted(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-99").mkdir()  # transformers' own, without a description
    for step in (1, 2, 3):
        write(tmp_path, step, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-99", "checkpoint-3"]


def test_random_states_round_trip(tmp_path: Path) -> None:
    import random

    save_state(tmp_path, "random", random_state())
    first = torch.rand(3), np.random.rand(3), random.random()
    restore_random_state(load_state(tmp_path, "random"))
    second = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(first[0], second[0])
    assert (first[1] == second[1]).all()
    assert first[2] == second[2]
