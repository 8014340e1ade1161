"""What a run needs from the machine: seeds, device, and the run folder with its atomic writes and its manifest.

A run folder is claimed by creating it; a folder that exists is never written over. Files appear whole (written beside, then
renamed) or, for `*.jsonl`, grow by whole lines.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from rag_graph.errors import ConfigError, DataError, TrainingError
from rag_graph.version import __version__

LOCK = ".lock"
LOOK_S = 5.0
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "torch-geometric",
    "networkx",
    "numpy",
    "bm25s",
)


# An escaped lone surrogate: json reads it, no file can hold it. Pairs are characters.
_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators. Called once by a run, never inside a library function."""
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def resolve_device(wanted: str) -> str:
    """'auto' -> 'cuda' where there is one, else 'cpu'."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' was asked for, and torch sees no CUDA device. Use device: auto or cpu.")
    return wanted


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either its old content or all of the new.

    Raises:
        TrainingError: the disk is full or the folder cannot be written; the old file is still whole.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        with beside.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written: {error.strerror or error}. Free some space or choose another output_dir."
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def to_json(record: Any) -> str:
    """JSON with NaN and infinity as null: strict readers refuse the bare words."""
    return json.dumps(_finite(record), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file (`.gz` read as such); blank lines are passed over.

    Raises:
        DataError: the file is missing, is not UTF-8, or a line is not a JSON object; names the line.
    """
    import gzip

    try:
        handle: IO[str]
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(
                        f"{path}:{number}: not valid JSON ({error}). One JSON object a line is expected."
                    ) from None
                if _SURROGATE.search(line):
                    raise DataError(f"{path}:{number}: half a surrogate pair, which is no character. Remove it.")
                if not isinstance(row, dict):
                    raise DataError(
                        f"{path}:{number}: a {type(row).__name__}, not an object. One JSON object a line is expected."
                    )
                yield number, row
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}).") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


class RunFolder:
    """The folder of one run: `config.yaml`, `graph.yaml`, `manifest.json`, `metrics.jsonl`, `episodes.jsonl`, `policy/`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, wanted: str | None, default: str) -> RunFolder:
        """Claim a new folder. `wanted` must not exist yet (or be empty); the default gets a number where it is taken."""
        if wanted is not None:
            path = Path(wanted)
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise ConfigError(
                    f"output_dir {path}: exists already, and a run never writes over another. Choose a new folder or delete it."
                )
            cls._make(path)
            return cls(path)
        base = Path(default)
        for number in range(1, 10_000):
            path = base if number == 1 else base.with_name(f"{base.name}-{number}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise ConfigError(f"output_dir {path}: cannot be made: {error.strerror or error}") from None
            return cls(path)
        raise ConfigError(f"output_dir {base}: ten thousand runs of this name. Set output_dir.")

    @staticmethod
    def _make(path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"output_dir {path}: cannot be made: {error.strerror or error}") from None

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run that exists.

        Raises:
            DataError: no folder, or not a run's.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such run folder. `rag-graph train` makes one and says where.")
        if not (folder / "config.yaml").is_file():
            raise DataError(f"{folder}: not a run folder, it has no config.yaml.")
        return cls(folder)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def write(self, name: str, text: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, text)

    def write_json(self, name: str, record: Any) -> None:
        self.write(name, json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """The content of a `.json` file; None where there is none.

        Raises:
            DataError: it is damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError as error:
            raise DataError(f"{path}: not valid JSON ({error}): the file is damaged. Delete it, or the run.") from None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from working on this run; let go when this one ends, however it ends.

        Raises:
            DataError: another process works on it.
        """
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=LOOK_S)  # somebody may just be looking whether it is held
        except Timeout:
            raise DataError(f"{self.path}: another process is working on this run. Wait for it, or stop it.") from None
        try:
            yield
        finally:
            lock.release()

    def standing(self) -> str:
        """running, finished, interrupted or failed as the run wrote it; "stopped" where it says running and its process on this machine is gone;
        "waiting" before it began.

        Raises:
            DataError: a damaged status.json.
        """
        status = self.read_json("status.json") or {"status": "waiting"}
        if status["status"] == "running" and status.get("host") == platform.node() and not self.is_held:
            return "stopped"
        return str(status["status"])

    @property
    def is_held(self) -> bool:
        """True while some process works on this run."""
        path = self.path / LOCK
        if not path.is_file():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # of somebody else: nobody here works on it
            return False
        lock.release()
        return False

    def append(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Add whole lines to a `.jsonl` file."""
        text = "".join(to_json(record) + "\n" for record in records)
        try:
            with (self.path / name).open("a", encoding="utf-8") as handle:
                handle.write(text)
        except OSError as error:
            raise TrainingError(
                f"{self.path / name}: cannot be written: {error.strerror or error}. Free some space; what was written stays."
            ) from None

    def read(self, name: str) -> list[dict[str, Any]]:
        """All records of a `.jsonl` file; a last line cut short by a crash is left out."""
        path = self.path / name
        if not path.is_file():
            return []
        lines = path.read_bytes().rstrip(b"\n").split(b"\n")  # not splitlines: U+2028 may stand in a text
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records.append(json.loads(line.decode("utf-8")))
            except ValueError:  # of JSON, and of a character cut in the middle
                if number < len(lines):
                    raise DataError(
                        f"{path}:{number}: not valid JSON, and not the last line: the file was changed by hand."
                    ) from None
        return records


def manifest(
    seed: int, command: list[str], data: Mapping[str, str], config_hash: str, graph_hash: str
) -> dict[str, Any]:
    """What is needed to say where a number came from: versions, git state, machine, seeds, hashes of the data."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "rag_graph": __version__,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command,
        "seed": seed,
        "config_hash": config_hash,
        "graph_hash": graph_hash,
        "data": dict(data),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions,
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    def ask(*args: str) -> str:
        return subprocess.run(["git", *args], capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def cache_folder() -> Path:
    """$RAG_GRAPH_CACHE, else rag_graph below the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rag_graph"
    return Path(os.environ.get("RAG_GRAPH_CACHE", default))
