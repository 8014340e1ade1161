"""The cache of verdicts: shared, bounded, and never a reason to stop."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from rag_graph.judges.cache import Cache, folder_of, key_of


def test_what_was_put_is_there_for_another_process(tmp_path: Path) -> None:
    Cache(tmp_path / "c", 1).put("k", {"text": "é \n4"})
    assert Cache(tmp_path / "c", 1).get("k") == {"text": "é \n4"}
    assert Cache(tmp_path / "c", 1).get("other") is None


def test_without_a_size_nothing_is_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", 0)
    cache.put("k", {"text": "4"})
    assert cache.get("k") is None
    assert not (tmp_path / "c").exists()


def test_the_size_is_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", 1)
    noise = os.urandom(15_000).hex()  # 30 kB that zlib cannot make much smaller
    for number in range(400):
        cache.put(str(number), {"text": noise})
    size = sum(p.stat().st_size for p in (tmp_path / "c").rglob("*") if p.is_file() and not p.name.endswith("-wal"))
    assert size < 2 * 2**20  # of 6 MB; SQLite's log of what it is about to write comes on top, at most 4 MB
    assert cache.get("399") is not None
    assert cache.get("0") is None


FORK = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")


def write_many(folder: Path) -> None:
    cache = Cache(folder, 8)
    for number in range(100):
        cache.put(str(number), {"text": str(number)})
        assert cache.get(str(number)) == {"text": str(number)}


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    started = [FORK.Process(target=write_many, args=(tmp_path / "c",)) for _ in range(3)]
    for one in started:
        one.start()
    for one in started:
        one.join(timeout=120)
    assert [one.exitcode for one in started] == [0, 0, 0]
    assert [Cache(tmp_path / "c", 8).get(str(n)) for n in range(100)] == [{"text": str(n)} for n in range(100)]


def test_a_cache_that_cannot_be_used_is_said_once_and_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file, no folder")
    with pytest.warns(RuntimeWarning, match="the cache of a judge cannot be used"):
        cache = Cache(tmp_path / "c", 1)
    cache.put("k", {"text": "4"})
    assert cache.get("k") is None
    (tmp_path / "d").mkdir()
    (tmp_path / "d/cache.db").write_bytes(b"no database" * 1000)
    with pytest.warns(RuntimeWarning, match="Free some space, or delete the folder"):
        Cache(tmp_path / "d", 1)


def test_keys_and_folders_tell_models_apart(own_cache: Path) -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})
    one, other = (folder_of("openai", "m", url) for url in (None, "http://127.0.0.1:1/v1"))
    assert one != other
    assert one.parent == other.parent == own_cache / "judges"
