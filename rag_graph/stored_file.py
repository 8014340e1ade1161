"""Files that a run or a fit has written, read with suspicion: they may have been cut short, edited, or made by somebody else.

There is one error, `DamagedFileError`: it names the file, says what is wrong with it, and what can still be done.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from rag_graph.errors import DamagedFileError, RagGraphError

_REST = "`rag-graph report` and `rag-graph compare` show the rest of the run; in Python: Run(path, skip_damaged=True)."
_NO_ANSWER = f"Without it the run cannot answer or go on. {_REST}"
_AGAIN = f"`rag-graph evaluate` measures the model of a finished run again. {_REST}"
WHAT_THEN = {
    "status.json": 'Write {"status": "finished"} into it if the run has a results.json, else {"status": "stopped"}.',
    "manifest.json": _NO_ANSWER,
    "results.json": _AGAIN,
    "graph_report.json": _REST,
    "strengths.yaml": _REST,
    "metrics.jsonl": _REST,
    "config.yaml": f"Restore it from a copy. {_REST}",
    "graph.yaml": f"Restore it from a copy. {_REST}",
    "reward.json": _NO_ANSWER,
    "reward.safetensors": _NO_ANSWER,
    "evaluation": _AGAIN,
    "contexts": _NO_ANSWER,
    "policy": _NO_ANSWER,
}
"""Name of a file of a run, or of the folder that it is in -> what can still be done without it."""
MOST_DIGITS = 40
MOST_DEPTH = 64


def damaged(path: Path, what: str) -> DamagedFileError:
    """The error for a file; `what` is wrong with it, without a full stop."""
    then = WHAT_THEN.get(path.name) or WHAT_THEN.get(path.parent.name) or "Restore it from a copy."
    return DamagedFileError(f"{path}: {what}. {then}")


@contextlib.contextmanager
def using(path: Path) -> Iterator[None]:
    """What goes wrong while the content of a file is put to use, as an error that names the file."""
    try:
        yield
    except RagGraphError:
        raise
    except Exception as error:  # torch, safetensors and plain Python raise errors of many types
        first = (str(error).strip().splitlines() or [""])[0]
        raise damaged(path, f"what it holds cannot be used ({type(error).__name__}: {first:.200})") from None


def check_regular(path: Path) -> bool:
    """True for a file, also through a link; False where there is nothing.

    Raises:
        DamagedFileError: a folder, a pipe, a device, or a link in a circle.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(mode):
        raise damaged(path, "a folder, a pipe or a device is in its place")
    return True


def plain_file(path: Path, follow: bool = False) -> BinaryIO:
    """Open a file for reading that is no folder, pipe or device: these are not waited for.

    Args:
        follow: it may be reached through a link.

    Raises:
        OSError: it is missing, cannot be read, or is no plain file.
    """
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY"))
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
        if path.is_symlink():
            raise OSError("it is a link, which is not followed")
    try:
        number = os.open(path, flags)
    except ValueError as error:  # a null character in the path
        raise OSError(str(error)) from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError("not a regular file")
    return os.fdopen(number, "rb")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with plain_file(path, follow=True) as handle:
            yield handle
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})") from None


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None where there is none. It never waits for a pipe and never reads a device.

    Raises:
        DamagedFileError: no regular file, or it cannot be read.
    """
    if not check_regular(path):
        return None
    with _opened(path) as handle:
        return handle.read()


def read_text(path: Path) -> str:
    """The content of a file that has to be there.

    Raises:
        DamagedFileError: it is missing, no regular file, or no UTF-8 text.
    """
    raw = read_bytes(path)
    if raw is None:
        raise damaged(path, "is missing")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"not UTF-8 text ({error.reason} at byte {error.start})") from None


def read_json(path: Path, finite: bool = True) -> Any:
    """The content of a `.json` file; None where there is no file.

    Args:
        finite: numbers are as this package writes them: NaN, infinity and numbers of more than 40 digits are damage.

    Raises:
        DamagedFileError: it is damaged.
    """
    raw = read_bytes(path)
    if raw is None:
        return None
    try:
        found = _parsed(raw, finite)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not valid JSON ({error})") from None
    if found is None:
        raise damaged(path, "holds nothing but null")
    return found


def read_records(
    path: Path,
    check: Callable[[Any], str] = lambda row: "",
    on_damage: Callable[[DamagedFileError], object] | None = None,
) -> list[dict[str, Any]]:
    """All records of a `.jsonl` file that `append_records` wrote; empty where there is none. A last line cut short by a crash is left out.

    Args:
        check: record -> what is wrong with it, or an empty text.
        on_damage: called with what is wrong with the file; the damaged lines are then left out. None: it is raised.

    Raises:
        DamagedFileError: the file cannot be read, or a line is damaged; names it.
    """
    raw = read_bytes(path)
    if not raw:
        return []
    lines = raw.rstrip(b"\n").split(b"\n")  # not splitlines: U+2028 may stand in a text
    records: list[dict[str, Any]] = []
    wrong: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            record = _parsed(line)
        except (ValueError, RecursionError) as error:  # of JSON, and of a character cut in the middle
            if number == len(lines) and raw[-1:] != b"\n":
                continue  # a crash cut it short
            wrong.append(f"line {number} is not valid JSON ({error})")
            continue
        what = check(record) if isinstance(record, dict) else "is not a JSON object"
        if what:
            wrong.append(f"line {number} {what}")
        else:
            records.append(record)
    if wrong:
        more = f", and {len(wrong) - 1} more of {len(lines)} lines" if len(wrong) > 1 else ""
        found = damaged(path, f"{wrong[0]}{more}")
        if on_damage is None:
            raise found
        on_damage(found)
    return records


def last_record(path: Path) -> dict[str, Any]:
    """The last whole line of a `.jsonl` file; empty where none can be read. It reads only the end of the file, to show how a run goes on."""
    try:
        if not check_regular(path):
            return {}
        with _opened(path) as handle:
            handle.seek(max(0, path.stat().st_size - 16_384))
            lines = handle.read().decode("utf-8", "replace").splitlines()
    except DamagedFileError:
        return {}
    for line in reversed(lines):
        try:
            found = _parsed(line.encode())
        except (ValueError, RecursionError):
            continue  # being written
        if isinstance(found, dict):
            return found
    return {}


def _parsed(raw: bytes, finite: bool = True) -> Any:
    """
    Raises:
        ValueError, RecursionError: no JSON, or with what a run never writes: NaN, infinity, numbers and depths without bounds.
    """
    strict: dict[str, Any] = (
        {"parse_constant": _no_number, "parse_int": _whole, "parse_float": _finite} if finite else {}
    )
    found = json.loads(raw.decode("utf-8-sig"), **strict)
    if raw.count(b"[") + raw.count(b"{") > MOST_DEPTH and isinstance(found, dict | list) and _too_deep(found):
        raise ValueError(f"more than {MOST_DEPTH} levels")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text:.20} is not a number")


def _whole(text: str) -> int:
    return int(text) if len(text) <= MOST_DIGITS else _no_number(text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH):
        items = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True
