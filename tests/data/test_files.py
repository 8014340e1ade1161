"""Where data sets are looked for, and the parts of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_graph.data.files import find_file, read_rows
from rag_graph.errors import DataError
from rag_graph.graph.spec import Dataset


def test_a_file_beside_the_graph_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    for folder in (near, far):
        folder.mkdir()
        (folder / "d.csv").write_text("a\n1\n")
    monkeypatch.delenv("RAG_GRAPH_DATA", raising=False)
    with pytest.raises(DataError, match=r"'gone\.csv' was not found at .*near/gone\.csv\. \$RAG_GRAPH_DATA is not set"):
        find_file("gone.csv", near)
    monkeypatch.setenv("RAG_GRAPH_DATA", str(far))
    assert find_file("d.csv", near) == near / "d.csv"
    (near / "d.csv").unlink()
    assert find_file("d.csv", near) == far / "d.csv"
    with pytest.raises(DataError, match=r"near/gone\.csv or .*far/gone\.csv\.$"):
        find_file("gone.csv", near)


def test_each_split_has_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x\n2\n")
    both = Dataset(path="a.csv", test="b.csv")
    assert [row["x"] for split in ("train", "test") for _, row in read_rows(both, split, tmp_path)] == ["1", "2"]
    with pytest.raises(DataError, match=r"the data set 'a\.csv' states no 'test' file"):
        list(read_rows(Dataset(path="a.csv"), "test", tmp_path))
