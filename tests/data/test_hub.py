"""What `datasets` reads: folders of files, what `save_to_disk` wrote, parts of splits, and the cause where it fails."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pandas
import pytest

from rag_graph.data.files import read_rows
from rag_graph.errors import DataError
from rag_graph.graph.spec import Dataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def values(dataset: Dataset, split: str, root: Path) -> list[Any]:
    return [row["x"] for _, row in read_rows(dataset, split, root)]


def test_a_folder_beside_the_graph_and_parts_of_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/set").mkdir(parents=True)
    pandas.DataFrame({"x": range(10)}).to_parquet(tmp_path / "data/set/train.parquet")
    pandas.DataFrame({"x": [70, 71]}).to_parquet(tmp_path / "data/set/validation.parquet")
    stated = Dataset(hub="set", split="train[10%:50%]", test="train[:10%]+validation")
    assert values(stated, "train", tmp_path / "data") == [1, 2, 3, 4]
    assert values(stated, "test", tmp_path / "data") == [0, 70, 71]
    monkeypatch.setenv("RAG_GRAPH_DATA", str(tmp_path / "data"))
    assert values(stated, "train", tmp_path) == [1, 2, 3, 4], "and under $RAG_GRAPH_DATA"
    where = [place for place, _ in read_rows(stated, "test", tmp_path)]
    assert where[0] == "set[train[:10%]+validation]:1"


def test_what_was_saved_to_disk(tmp_path: Path) -> None:
    from datasets import ClassLabel, DatasetDict, Features, Value
    from datasets import Dataset as Table

    features = Features({"x": Value("int64"), "label": ClassLabel(names=["a", "b"])})
    table = Table.from_dict({"x": list(range(10)), "label": [0, 1] * 4 + [-1, -1]}, features=features)
    DatasetDict({"train": table, "test": table.select([3])}).save_to_disk(str(tmp_path / "both"))
    table.save_to_disk(str(tmp_path / "one"))
    both = Dataset(hub="both", split="train[:20%]+test")
    assert values(both, "train", tmp_path) == [0, 1, 3]
    assert values(both, "test", tmp_path) == [3]
    labels = [row["label"] for _, row in read_rows(Dataset(hub="one", split="train[70%:]"), "train", tmp_path)]
    assert labels == [1, None, None], "-1 is what datasets has for a label that is not known"
    with pytest.raises(DataError, match=r"hub data set 'one' \(split test\) cannot be loaded: Unknown split"):
        values(Dataset(hub="one"), "test", tmp_path)
    with pytest.raises(DataError, match=r"corresponds to no data\. The split has too few rows for this share\."):
        values(Dataset(hub="both", split="test[:10%]"), "train", tmp_path)


def test_the_cause_is_said(tmp_path: Path) -> None:
    lines(tmp_path / "mixed/train-1.jsonl", [{"x": 1}])
    lines(tmp_path / "mixed/train-2.jsonl", [{"x": 1, "more": 2}])
    with pytest.raises(
        DataError,
        match=r"hub data set 'mixed' .* column names don't match\. Its files have different columns: make them the same",
    ):
        values(Dataset(hub="mixed"), "train", tmp_path)
    lines(tmp_path / "alone/train.jsonl", [{"x": 1}])
    with pytest.raises(
        DataError, match=r"Should be one of \['train'\]\. Name a split that it has .* data\.test_share in the config"
    ):
        values(Dataset(hub="alone"), "test", tmp_path)
    with pytest.raises(DataError, match=r"BuilderConfig 'nope' not found.* It is the folder .*alone\."):
        values(Dataset(hub="alone", config="nope"), "train", tmp_path)
    with pytest.raises(
        DataError, match=r"hub data set 'no_such_set_here' .* Check the name and the network, or use 'path:'\.$"
    ):
        values(Dataset(hub="no_such_set_here"), "train", tmp_path)


@pytest.mark.parametrize("way", ["link", "readme", "file://", "state", "splits"])
def test_a_folder_reads_no_file_outside_the_allowed_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    from datasets import Dataset as Table
    from datasets import DatasetDict

    monkeypatch.delenv("RAG_GRAPH_DATA", raising=False)
    outside, root = tmp_path / "outside", tmp_path / "graph"
    folder = root / "set"
    lines(outside / "train.jsonl", [{"x": 5}, {"x": 6}])
    if way in ("link", "readme", "file://"):
        folder.mkdir(parents=True)
    if way == "link":
        (folder / "train.jsonl").symlink_to(outside / "train.jsonl")
    elif way in ("readme", "file://"):
        path = "../../outside/train.jsonl" if way == "readme" else f"file://{outside}/train.jsonl"
        told = f"configs: [{{config_name: default, data_files: [{{split: train, path: '{path}'}}]}}]"
        (folder / "README.md").write_text(f"---\n{told}\n---\n")
    elif way == "state":
        Table.from_dict({"x": [5, 6]}).save_to_disk(str(folder))
        state = json.loads((folder / "state.json").read_text())
        (file,) = state["_data_files"]
        (folder / file["filename"]).rename(outside / file["filename"])
        file["filename"] = f"../../outside/{file['filename']}"
        (folder / "state.json").write_text(json.dumps(state))
    else:
        DatasetDict({"train": Table.from_dict({"x": [5, 6]})}).save_to_disk(str(outside))
        folder.mkdir(parents=True)
        (folder / "dataset_dict.json").write_text('{"splits": ["../../outside/train"]}')
    stated = Dataset(hub="set", split="../../outside/train" if way == "splits" else "train")
    with pytest.raises(DataError, match=r"'set: .*outside the folder of the graph.*--data-root"):
        values(stated, "train", root)
    if way != "splits":  # whose name is no name of a split
        monkeypatch.setenv("RAG_GRAPH_DATA", str(outside))
        assert values(stated, "train", root) == [5, 6]


def test_a_folder_that_names_an_address_is_refused(tmp_path: Path) -> None:
    (tmp_path / "graph/set").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as archive:
        archive.writestr("secret.jsonl", '{"x": 1}\n')
    address = f"zip://secret.jsonl::{tmp_path / 'secret.zip'}"
    told = f"configs: [{{config_name: default, data_files: [{{split: train, path: '{address}'}}]}}]"
    (tmp_path / "graph/set/README.md").write_text(f"---\n{told}\n---\n")
    with pytest.raises(DataError, match="'set': its folder names 'zip://secret.jsonl::"):
        values(Dataset(hub="set"), "train", tmp_path / "graph")
