"""Files that are opened once, hashed, and read without copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xxhash

from rag_graph.errors import DataError
from rag_graph.retrieval.index_files import IndexFiles, content_hash


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


@pytest.mark.parametrize(
    "header", ["{'a': (", "'''", "(" * 3000, "9" * 5000, "{'descr': 'V0', 'fortran_order': False, 'shape': (9,)}"]
)
def test_a_header_that_numpy_stumbles_over_is_refused_by_name(tmp_path: Path, header: str) -> None:
    """With the right hash: whoever writes an index can write that too."""
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy: this index is damaged"):
        IndexFiles(tmp_path, {"a.npy": content_hash(content)}).array("a.npy", np.float32, -1)
