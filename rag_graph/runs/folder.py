"""A run's folder on disk: claimed by one run, locked by the process that works on it, and in one of a few states.

A folder that exists is never written over. `run.py` reads what is in it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from rag_graph.errors import ConfigError, DataError
from rag_graph.stored_file import damaged, read_json

LOCK = ".lock"
LOOK_S = 5.0
WARM_UP = "warm_up"
FIGURES = ("curves.png", "diagnostics.png", "report.html")
OF_TRACKERS = ("wandb", "tensorboard", "trackio")
"""Folders that trackers fill in their own way, with links."""


def claim_folder(wanted: str | None, default: str) -> Path:
    """Make the folder of a new run, for one process. `wanted` must not exist yet (or be empty); the default gets a number where it is taken.

    Of several processes that want one folder at the same time, one gets it: the one that makes its lock file.

    Raises:
        ConfigError: it holds something, another run claims it at this moment, or it cannot be made.
    """
    if wanted is not None:
        path = Path(wanted)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not any(path.iterdir()) and _claim(path):
                return path
        except FileExistsError:
            pass
        except OSError as error:
            raise _cannot_make(path, error) from None
        raise ConfigError(
            f"output_dir {path}: exists already, and a run never writes over another. Choose a new folder or delete it."
        )
    base = Path(default)
    for number in range(1, 10_000):
        path = base if number == 1 else base.with_name(f"{base.name}-{number}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            if _claim(path):
                return path
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_make(path, error) from None
    raise ConfigError(f"output_dir {base}: ten thousand runs of this name. Set output_dir.")


def _claim(path: Path) -> bool:
    """True for the one process that makes the lock file of a folder in which nothing else is."""
    try:
        os.close(os.open(path / LOCK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return [one.name for one in path.iterdir()] == [LOCK]


def _cannot_make(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"output_dir {path}: cannot be made: {error.strerror or error}")


@contextlib.contextmanager
def locked(path: Path, what: str = "run") -> Iterator[None]:
    """Keep other processes from working on this run, or on `what` the folder holds. The lock is released when the process ends, however it ends.

    Raises:
        DataError: another process works on it.
    """
    if (path / LOCK).is_symlink() or ((path / LOCK).exists() and not (path / LOCK).is_file()):
        raise DataError(f"{path / LOCK}: a link, a folder or a pipe is in place of the lock. Delete it.")
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=LOOK_S)  # another process may be testing the lock for a moment
    except Timeout:
        raise DataError(f"{path}: another process is working on this {what}. Wait for it, or stop it.") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """True while some process works on this run."""
    if (path / LOCK).is_symlink() or not (path / LOCK).is_file():
        return False
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # the lock of another user: no process of ours works on it
        return False
    lock.release()
    return False


def state_of(path: Path) -> str:
    """The state of a run's folder:

    - "running", "finished", "interrupted" or "failed", as the run wrote it;
    - "stopped": it says running, and its process on this machine is gone;
    - "waiting": nothing has begun.

    Raises:
        DataError: a damaged status.json.
    """
    status = read_json(path / "status.json") or {"status": "waiting"}
    if not isinstance(status, dict) or not isinstance(status.get("status"), str):
        raise damaged(path / "status.json", "holds no status")
    if status["status"] == "running" and status.get("host") == platform.node() and not is_locked(path):
        return "stopped"
    return str(status["status"])


def check_places(path: Path) -> None:
    """Check that what a run writes stays in its folder: everything below it is a file or a folder. The folder itself may be reached through a link.

    Raises:
        DataError: a link, a pipe or a device is in the folder.
    """
    for place, folders, files in os.walk(path):
        for name in [*folders, *files]:
            check_place(Path(place) / name)
        folders[:] = [name for name in folders if name not in OF_TRACKERS]


def check_place(path: Path) -> None:
    """Check that nothing but a file or a folder is at this place of a run.

    Raises:
        DataError: a link, a pipe or a device is there.
    """
    if not os.path.lexists(path):
        return
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "a pipe or a device"
        raise DataError(
            f"{path}: {what}, and a run writes only to files of its own folder. Put the file itself there, or delete it."
        )


def lacks_figures(path: Path) -> bool:
    """True where a run has ended, and what it ends with was not written: it was killed in between, or did not come from the command line."""
    return not all((path / name).exists() for name in FIGURES)


def clear_away(path: Path) -> None:
    """Delete what a run needed only to go on after a stop."""
    for stale in [path / WARM_UP, *path.glob("checkpoint-[0-9]*")]:
        shutil.rmtree(stale, ignore_errors=True)
