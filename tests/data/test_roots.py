"""A graph reads files in its own folder and in those that the user allows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rag_graph.data.files import find_file, read_rows
from rag_graph.data.roots import DATA_VARIABLE, allow, data_folders, places_of
from rag_graph.errors import DataError
from rag_graph.graph.spec import Dataset


@pytest.fixture
def graph_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    root = tmp_path / "graph"
    root.mkdir()
    (tmp_path / "secret.jsonl").write_text('{"a": "secret"}\n')
    (root / "own.jsonl").write_text('{"a": "own"}\n')
    (root / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    return root


def test_what_lies_beside_the_graph_is_read(graph_folder: Path) -> None:
    assert find_file("own.jsonl", graph_folder) == graph_folder / "own.jsonl"
    assert find_file("../graph/own.jsonl", graph_folder).samefile(graph_folder / "own.jsonl")
    assert places_of("gone.jsonl", graph_folder) == [graph_folder / "gone.jsonl"]


@pytest.mark.parametrize("stated", ["../secret.jsonl", "{outside}/secret.jsonl", "link.jsonl"])
def test_what_lies_elsewhere_is_refused_until_it_is_allowed(graph_folder: Path, stated: str) -> None:
    outside = graph_folder.parent
    stated = stated.format(outside=outside)
    with pytest.raises(DataError, match=r"outside the folder of the graph.*--data-root"):
        find_file(stated, graph_folder)
    with pytest.raises(DataError, match="outside the folder of the graph"):
        list(read_rows(Dataset(path=stated), "train", graph_folder))
    allow(outside)
    assert [row for _, row in read_rows(Dataset(path=stated), "train", graph_folder)] == [{"a": "secret"}]


def test_a_hub_name_reads_no_folder_of_the_working_directory(
    graph_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.chdir(graph_folder.parent)
    for name in ("graph", "../" + graph_folder.parent.name):
        with pytest.raises(DataError, match="allow its folder"):
            list(read_rows(Dataset(hub=name), "train", graph_folder / "deeper"))


def test_several_folders_in_order(graph_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two/d.jsonl").write_text("{}\n")
    monkeypatch.setenv(DATA_VARIABLE, os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert data_folders() == [tmp_path / "one", tmp_path / "two"]
    assert find_file("d.jsonl", graph_folder) == tmp_path / "two/d.jsonl"
    with pytest.raises(DataError, match="no such folder"):
        allow(tmp_path / "three")
