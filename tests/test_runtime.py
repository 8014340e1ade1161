"""Files that survive a crash, and are read strictly."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path

import pytest

from rag_graph.errors import DataError, TrainingError
from rag_graph.runtime import (
    read_jsonl,
    to_json,
    write_atomically,
)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match="No space left on device. Free some space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_bare_words() -> None:
    assert json.loads(to_json({"a": float("inf"), "b": [float("nan"), 1.5]})) == {"a": None, "b": [None, 1.5]}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1}\n{"a": \n', r":2: not valid JSON"), (b'{"a": 1}\n\n[1]\n', r":3: a list, not an object"), (b'{"a": "\xe9"}', r":1: not UTF-8 text \(byte 0xe9\)"), ('{"a": 1}'.encode("utf-16")[:-1], "not the text that its byte order mark says"), (b'{"a": 1},\n{"a": 2}\n', ":1: .* Remove the comma at the end"), (b"{'a': 1}", ":1: .* json.dumps"), (b'{"a": 1}\n\0\0', ":2: .* not written to its end"), (b'{"a": 1, "a": 2}', ":1: the key 'a' stands twice"), (b'[{"a": 1},\n 3]', "item 2: a int, not an object"), (b'[{"a": 1}\n 3]', ":2: not valid JSON"), (b'[{"a": 1, "a": 1}]', "'a' stands twice"), (b'{"a": {"b": "\\ud83d x"}}', ":1: column 'a' has half of a surrogate pair"), (b"[" * 100_000, ":1: not valid JSON"), (b'{"a": ' + b"1" * 5000 + b"}", ":1: not valid JSON")],
)  # fmt: skip
def test_bad_rows_are_named_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_jsonl(path))


def test_a_corrupt_archive_is_said(tmp_path: Path) -> None:
    raw = bytearray(gzip.compress(b'{"a": 1}\n' * 2000, mtime=0))
    raw[20:40] = bytes(20)
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="cannot be read|not valid JSON|not UTF-8"):
        list(read_jsonl(path))


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n', [(1, 1), (2, 2)]),
        ('{"a": "\u00e9"}\n'.encode("utf-16"), [(1, "\u00e9")]),
        ('{"a": "\u00e9"}\n'.encode("utf-32"), [(1, "\u00e9")]),
        (b'\n{"a": 1}\r{"a": 2}', [(2, 1), (3, 2)]),
        (b'{"a": "\\ud83d\\ude00"}', [(1, "\U0001f600")]),
        (rb'{"a": "\\ud800"}', [(1, "\\ud800")]),
        ('{"a": "x\u2028y"}\n'.encode(), [(1, "x\u2028y")]),
        (b'[{"a": 1},\n {"a": 2}]\n', [(1, 1), (2, 2)]),
        (gzip.compress(b'{"a": 1}\n', mtime=0), [(1, 1)]),
        (b"", []),
    ],
)
def test_json_lines_as_the_world_writes_them(tmp_path: Path, content: bytes, rows: list[tuple[int, object]]) -> None:
    (tmp_path / "d.jsonl").write_bytes(content)
    assert [(number, row["a"]) for number, row in read_jsonl(tmp_path / "d.jsonl")] == rows
