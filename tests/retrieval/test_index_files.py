"""Files that are opened once, hashed, and read without copies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xxhash

from rag_graph.errors import DataError
from rag_graph.retrieval.index_files import IndexFiles, content_hash, plain_file


def test_what_was_hashed_is_what_is_read(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.int64).reshape(3, 2)
    np.save(tmp_path / "a.npy", array)
    content = (tmp_path / "a.npy").read_bytes()
    assert content_hash(content) == xxhash.xxh3_128(content).hexdigest()
    files = IndexFiles(tmp_path, {"a.npy": content_hash(content)})
    (tmp_path / "a.npy").unlink()
    found = files.array("a.npy", np.int64, -1, 2)
    assert found.tolist() == array.tolist()
    assert not found.flags.owndata
    assert not found.flags.writeable
    with pytest.raises(DataError, match=r"a\.npy: .*shape \(3, 2\), not \(4, 2\)"):
        files.array("a.npy", np.int64, 4, 2)
    with pytest.raises(DataError, match=r"b\.npy: .*its settings do not name this file"):
        files.array("b.npy", np.int64, 1)


def test_an_array_without_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.empty((0, 2), np.int64))
    files = IndexFiles(tmp_path, {"a.npy": content_hash((tmp_path / "a.npy").read_bytes())})
    assert files.array("a.npy", np.int64, -1, 2).shape == (0, 2)


def test_links_pipes_and_devices_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    with plain_file(tmp_path / "real") as handle:
        assert handle.read() == b"x"
    for path in (tmp_path / "link", tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"link|plain"):
            plain_file(path)
