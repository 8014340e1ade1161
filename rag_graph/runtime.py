"""What everything needs from the machine: seeds, device, cache, and files that survive a crash.

Files appear whole (written beside, then renamed) or, for `*.jsonl`, grow by whole lines.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rag_graph.errors import ConfigError, DataError, TrainingError
from rag_graph.stored_file import plain_file

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte order marks, and the encodings that they announce."""
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators. Called once by a run, never inside a library function."""
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def memory_bytes() -> int | None:
    """The most memory that this process may have: of the machine, of its control group, of its limits. None where the system does not say."""
    found = []
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for group in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(Path(group).read_text()))
    with contextlib.suppress(ImportError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        found += [] if soft == resource.RLIM_INFINITY else [soft]
    return min((number for number in found if number > 0), default=None)


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
        beside.unlink(missing_ok=True)
        with beside.open(
            "x", encoding="utf-8"
        ) as handle:  # a new file: nothing is written through a link that waits there
            handle.write(text)
            handle.flush()
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


def open_text(path: Path, newline: str | None = None) -> io.TextIOWrapper:
    """Open a text file for reading; gzip is told by its first bytes, UTF-16 and UTF-32 by their byte order mark, all else is UTF-8.

    Args:
        newline: as in `open`; None: every kind of line end is read as "\\n".

    Raises:
        OSError: it is missing, cannot be read, or is a folder, a pipe or a device.
    """
    with plain_file(path, follow=True) as handle:
        zipped = handle.read(2) == b"\x1f\x8b"
    raw: IO[bytes] = gzip.open(path) if zipped else path.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    try:
        start = raw.read(4)
        raw.seek(0)
    except (OSError, EOFError, zlib.error):
        raw.close()
        raise
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
    return io.TextIOWrapper(raw, encoding, newline=newline)


def not_utf8(path: Path) -> DataError:
    """What to say of a text file that could not be decoded: the line of its first bad byte, and the way out."""
    with open_text(path) as handle:
        raw = bytes(handle.buffer.read())
    if any(raw.startswith(mark) for mark, name in _MARKS if name != "utf-8-sig"):
        return DataError(f"{path}: not the text that its byte order mark says it is. Save the file as UTF-8.")
    place, byte = str(path), ""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place, byte = f"{path}:{raw.count(10, 0, error.start) + 1}", f" (byte 0x{raw[error.start]:02x})"
    return DataError(
        f"{place}: not UTF-8 text{byte}. Save the file as UTF-8, such as with iconv -f WINDOWS-1252 -t UTF-8."
    )


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file (also gzipped); blank lines are passed over. A file that is one JSON array of
    objects is read too; the number is then that of the item.

    Raises:
        DataError: the file is missing, is no text, or a line is not a JSON object; names the line.
    """
    try:
        with open_text(path) as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                if number == 1 and line.lstrip().startswith("["):
                    yield from _items(path, line + handle.read())
                    return
                yield number, _object(line, f"{path}:{number}")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


class _TwiceError(ValueError):
    """A key stands twice in an object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"the key '{twice}' stands twice in one object. Keep one.")
    return found


_DECODE = json.JSONDecoder(object_pairs_hook=_unique).decode


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = _DECODE(line)
    except _TwiceError as error:
        raise DataError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}). {_remedy(line.strip())}") from None
    return _row(row, where, escapes=bool(_ESCAPED_SURROGATE.search(line)))


def _items(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = _DECODE(text)
    except _TwiceError as error:
        raise DataError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(
            f"{path}:{line}: not valid JSON ({error}). One JSON object a line is expected, or one array of objects."
        ) from None
    escapes = bool(_ESCAPED_SURROGATE.search(text))
    for number, row in enumerate(rows, 1):
        yield number, _row(row, f"{path}: item {number}", escapes)


def _row(row: Any, where: str, escapes: bool) -> dict[str, Any]:
    """escapes: the text has escapes as of surrogates. A pair of them is a character, and half of one is none: no file can hold it."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {type(row).__name__}, not an object. One JSON object a line is expected.")
    for name, value in row.items() if escapes else ():
        if _HALF.search(json.dumps([name, value], ensure_ascii=False)):
            raise DataError(
                f"{where}: column {name!a:.40} has half of a surrogate pair, which is not a character. Write the whole pair, or \\ufffd in its place."
            )
    return row


def _remedy(line: str) -> str:
    """What to write instead of a line that is no JSON."""
    if not line.strip("\0\x1a"):
        return "The file ends in bytes that are no text: it was not written to its end. Remove this line."
    if line.endswith("},"):
        return "Remove the comma at the end of the line."
    if line.startswith("{'"):
        return "These are Python's quotes: write the row with json.dumps."
    return "One JSON object a line is expected."


def write_json(path: Path, record: Any) -> None:
    """Write a `.json` file whole; NaN and infinity become null."""
    write_atomically(path, json.dumps(_finite(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add whole lines to a `.jsonl` file: all of them, or none.

    Raises:
        TrainingError: the disk is full or the file cannot be written; what was in it stays.
    """
    text = "".join(to_json(record) + "\n" for record in records)
    size = path.stat().st_size if path.is_file() else None
    try:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(text)
    except OSError as error:
        if size is not None:
            with contextlib.suppress(OSError):
                os.truncate(path, size)  # part of a line would spoil the next one
        raise TrainingError(
            f"{path}: cannot be written: {error.strerror or error}. Free some space; what was written stays."
        ) from None


def cache_folder() -> Path:
    """$RAG_GRAPH_CACHE, else rag_graph below the user's cache folder; below the folder for temporary files where the user has no home."""
    stated = os.environ.get("RAG_GRAPH_CACHE")
    if stated:
        return Path(stated)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rag_graph"
    except RuntimeError:  # no HOME, and a user whom the system does not know
        return Path(tempfile.gettempdir()) / "rag_graph"
