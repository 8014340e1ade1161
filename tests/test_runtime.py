"""Run folders: claimed once, written whole, readable after a crash."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from rag_graph.errors import ConfigError, DataError, TrainingError
from rag_graph.runtime import RunFolder, manifest, read_jsonl, to_json, write_atomically


def test_a_run_never_writes_over_another(tmp_path: Path) -> None:
    taken = tmp_path / "run"
    RunFolder.create(str(taken), "unused").write("config.yaml", "a: 1")
    with pytest.raises(ConfigError, match="exists already, and a run never writes over another"):
        RunFolder.create(str(taken), "unused")
    assert (taken / "config.yaml").read_text() == "a: 1"


def test_default_names_are_numbered(tmp_path: Path) -> None:
    base = str(tmp_path / "runs/quickstart-seed0")
    names = [RunFolder.create(None, base).path.name for _ in range(3)]
    assert names == ["quickstart-seed0", "quickstart-seed0-2", "quickstart-seed0-3"]


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


def test_lines_survive_a_crash(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "r"), "")
    folder.append("m.jsonl", [{"a": 1}, {"a": float("nan")}])
    with (folder / "m.jsonl").open("a") as handle:
        handle.write('{"a": 3')
    assert folder.read("m.jsonl") == [{"a": 1}, {"a": None}]
    (folder / "m.jsonl").write_text('{"a": 1}\n{bad}\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"m\.jsonl:2: not valid JSON"):
        folder.read("m.jsonl")


def test_any_text_survives_the_jsonl(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "r"), "")
    texts = ["a\u2028b", "c\u0085d", "e\x1cf", "g\nh", ""]
    folder.append("e.jsonl", [{"text": text} for text in texts])
    assert [record["text"] for record in folder.read("e.jsonl")] == texts


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        RunFolder.open(tmp_path / "gone")
    with pytest.raises(DataError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_json_has_no_bare_words() -> None:
    assert json.loads(to_json({"a": float("inf"), "b": [float("nan"), 1.5]})) == {"a": None, "b": [None, 1.5]}


def test_the_manifest_says_where_a_number_came_from() -> None:
    record = manifest(7, ["rag-graph", "train"], {"topic/train": "abc"}, "c0ffee", "beef")
    assert record["seed"] == 7
    assert record["data"] == {"topic/train": "abc"}
    assert record["versions"]["numpy"] == numpy.__version__
    assert set(record["git"] or {"commit": "", "dirty": ""}) == {"commit", "dirty"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1}\n{"a": \n', r":2: not valid JSON"), (b'{"a": 1}\n\n[1]\n', r":3: a list, not an object"), (b"\xff\xfe", "not UTF-8"), (b"[" * 100_000, ":1: not valid JSON"), (b'{"a": ' + b"1" * 5000 + b"}", ":1: not valid JSON")],
)  # fmt: skip
def test_bad_rows_are_named_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_jsonl(path))


def test_a_corrupt_archive_is_said(tmp_path: Path) -> None:
    import gzip

    raw = bytearray(gzip.compress(b'{"a": 1}\n' * 2000))
    raw[20:40] = bytes(20)
    path = tmp_path / "d.jsonl.gz"
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="cannot be read|not valid JSON|not UTF-8"):
        list(read_jsonl(path))


def test_a_run_is_held_by_one_process_and_looking_takes_nothing(tmp_path: Path) -> None:
    import threading

    folder = RunFolder(tmp_path)
    assert not folder.is_held
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            assert RunFolder(tmp_path).is_held in (True, False)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(50):  # somebody who looks never keeps the run from its work
            with folder.held():
                pass
    finally:
        stop.set()
        watcher.join()
    code = f"from pathlib import Path; from rag_graph.runtime import RunFolder; print(RunFolder(Path({str(tmp_path)!r})).is_held)"
    with folder.held():
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "True"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
