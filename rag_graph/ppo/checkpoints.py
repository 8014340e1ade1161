"""Checkpoints that are whole or are refused: safetensors and JSON, never pickle.

A checkpoint is filled in a hidden folder, described in `checkpoint.json` (format, who wrote it, SHA-256 of every file), flushed, and
only then renamed to `checkpoint-STEP`. A process killed at any moment leaves whole checkpoints and perhaps a hidden folder, which the
next write removes. What is in a checkpoint is the trainer's business; see `GraphPPOTrainer.save_checkpoint`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from rag_graph.errors import DamagedFileError, TrainingError
from rag_graph.stored_file import read_json

FORMAT = "rag_graph.ppo/1"
DESCRIPTION = "checkpoint.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def write_checkpoint(
    folder: Path,
    step: int,
    fill: Callable[[Path], None],
    about: Mapping[str, Any],
    keep: int | None = None,
    protect: Sequence[Path] = (),
) -> Path:
    """Write `folder/checkpoint-STEP`: call `fill` with an empty folder, then describe, flush and rename it.

    Args:
        about: JSON values that a reader compares with its own before it takes the checkpoint.
        keep: delete all but this many of our newest checkpoints afterwards.
        protect: checkpoints that stay however old they are.

    Raises:
        TrainingError: it cannot be written (disk full, no permission); older checkpoints are untouched.
    """
    target, beside = folder / f"checkpoint-{step}", folder / f".checkpoint-{step}.writing"
    replaced = folder / f".checkpoint-{step}.replaced"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _mend(folder)
        beside.mkdir()
        fill(beside)
        files = {str(file.relative_to(beside)): _digest(file) for file in _files(beside)}
        text = json.dumps({"format": FORMAT, "step": step, "about": dict(about), "files": files}, indent=2)
        (beside / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        for file in [*_files(beside), beside]:
            _flush(file)
        if target.exists():
            os.rename(target, replaced)
        os.rename(beside, target)
        _flush(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise TrainingError(
            f"{target}: cannot be written: {error}. Free some space or choose another output_dir; older checkpoints are whole."
        ) from None
    if keep:
        ours = [path for path in list_checkpoints(folder) if (path / DESCRIPTION).is_file()]
        for old in ours[keep:]:
            if old != target and old not in protect:
                shutil.rmtree(old, ignore_errors=True)
    return target


def _mend(folder: Path) -> None:
    """After a writer that was killed: half-written folders go, one that was being replaced comes back."""
    for stale in folder.glob(".checkpoint-*.writing"):
        shutil.rmtree(stale)
    for old in folder.glob(".checkpoint-*.replaced"):
        home = folder / old.name.removeprefix(".").removesuffix(".replaced")
        if home.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, home)


def set_aside(folder: Path, stale: Sequence[Path]) -> Path:
    """Move files and folders that belong to another line of training than the one that begins now into `folder/earlier-N`."""
    place = next(path for n in range(1, 10_000) if not (path := folder / f"earlier-{n}").exists())
    place.mkdir()
    for path in stale:
        os.rename(path, place / path.name)
    return place


def list_checkpoints(folder: Path, after: int = -1) -> list[Path]:
    """`checkpoint-STEP` folders of steps later than `after`, newest first; whether they are whole is not looked at."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for step, path in sorted(found, reverse=True) if step > after]


def check_checkpoint(path: Path, about: Mapping[str, Any]) -> int:
    """The step of a whole checkpoint that fits `about`.

    Raises:
        TrainingError: it is torn (a file is missing or has changed), foreign, or was written by a run that differs; says in what.
    """
    try:
        description = read_json(path / DESCRIPTION)
    except DamagedFileError as error:
        raise TrainingError(f"{path}: {DESCRIPTION} cannot be read: the checkpoint is torn. {error}") from None
    if description is None:
        raise TrainingError(f"{path}: no checkpoint of this trainer: it has no {DESCRIPTION}.")
    parts = description if isinstance(description, dict) else {}
    files, written, step = parts.get("files"), parts.get("about"), parts.get("step")
    if not isinstance(files, dict) or not isinstance(written, dict) or type(step) is not int:
        raise TrainingError(f"{path}: {DESCRIPTION} does not describe a checkpoint: it is torn.")
    if parts.get("format") != FORMAT:
        raise TrainingError(f"{path}: a checkpoint of another format ({parts.get('format')!r:.40}), not {FORMAT}.")
    for name, digest in files.items():
        if not (path / name).is_file():
            raise TrainingError(f"{path}: {name} is missing: the checkpoint is torn.")
        if _digest(path / name) != digest:
            raise TrainingError(f"{path}: {name} is not what was written: the checkpoint is torn.")
    for name, ours in about.items():
        if written.get(name) != ours:
            raise TrainingError(
                f"{path}: written by another run: its {name} is {written.get(name)!r}, here it is {ours!r}."
            )
    return step


def newest_checkpoint(folder: Path, about: Mapping[str, Any]) -> Path | None:
    """The newest checkpoint that can be used; warns about each newer one that cannot, by name and reason."""
    if folder.is_dir():
        _mend(folder)
    for path in list_checkpoints(folder):
        try:
            check_checkpoint(path, about)
        except TrainingError as refused:
            warnings.warn(f"{refused} It is passed over.", RuntimeWarning, stacklevel=2)
        else:
            return path
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flush(path: Path) -> None:
    if os.name == "nt":  # Windows flushes only what is open for writing, and no folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def random_state() -> dict[str, Any]:
    """The state of every global random generator of this process."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Take back what `random_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
