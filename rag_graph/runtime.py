"""What everything needs from the machine: seeds, device, cache, and files that survive a crash.

Files appear whole (written beside, then renamed) or, for `*.jsonl`, grow by whole lines.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rag_graph.errors import ConfigError, DataError, TrainingError

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
        with beside.open("r+b") as handle:  # Windows flushes only what is open for writing
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
                    raise DataError(f"{path}:{number}: half of a surrogate pair, which is not a character. Remove it.")
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


def write_json(path: Path, record: Any) -> None:
    """Write a `.json` file whole; NaN and infinity become null."""
    write_atomically(path, json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a `.json` file; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}): the file is damaged. Delete it, or the run.") from None


def append_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add whole lines to a `.jsonl` file."""
    text = "".join(to_json(record) + "\n" for record in records)
    try:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(text)
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written: {error.strerror or error}. Free some space; what was written stays."
        ) from None


def read_records(path: Path) -> list[dict[str, Any]]:
    """All records of a `.jsonl` file that `append_records` wrote; empty where there is none. A last line cut short by a crash is left out.

    Raises:
        DataError: another line is damaged; names it.
    """
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


def last_record(path: Path) -> dict[str, Any]:
    """The last whole line of a `.jsonl` file; empty where there is none. It reads only the end of the file."""
    if not path.is_file():
        return {}
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 16_384))
        lines = handle.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # being written
        return found
    return {}


def cache_folder() -> Path:
    """$RAG_GRAPH_CACHE, else rag_graph below the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rag_graph"
    return Path(os.environ.get("RAG_GRAPH_CACHE", default))
