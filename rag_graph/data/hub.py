"""Rows of data sets that `datasets` reads: of the Hugging Face hub, of a folder of files, and of what `save_to_disk` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_graph.data.roots import check_allowed, places_of
from rag_graph.errors import DataError, need
from rag_graph.graph.spec import Dataset as Stated

if TYPE_CHECKING:
    from datasets import Dataset

_SAVED = ("dataset_dict.json", "state.json")
"""What `save_to_disk` leaves in a folder: of several splits, of one."""


def hub_rows(stated: Stated, split: str, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of one split.

    Args:
        split: a name, or an expression of `datasets` such as "train[:10%]" or "train+validation".
        root: the folder of the graph file; a folder there or under $RAG_GRAPH_DATA comes before a name on the hub.

    Raises:
        DataError: no such data set or split, no row in it, files that do not fit together; with the first cause.
    """
    need(f"hub data set '{stated.hub}'", "datasets")
    folder = _folder(str(stated.hub), root)
    try:
        for file in [] if folder is None else _files(stated, folder):
            check_allowed(file, f"{stated.hub}: {file.name}", root)
        loaded = _loaded(stated, split, folder)
    except DataError:
        raise
    except Exception as error:  # network, name and format errors of many types
        raise DataError(_told(stated, split, folder, error)) from None
    labels = [name for name, feature in loaded.features.items() if type(feature).__name__ == "ClassLabel"]
    for number, row in enumerate(loaded, 1):
        for name in labels:
            row[name] = None if row[name] == -1 else row[name]  # what `datasets` has for a label that is not known
        yield f"{stated.hub}[{split}]:{number}", row


def _folder(name: str, root: Path) -> Path | None:
    found = next((place for place in places_of(name, root) if place.is_dir()), None)
    if (
        found is None and Path(name).expanduser().exists()
    ):  # `datasets` would read it: relative to the working directory
        raise DataError(
            f"hub data set '{name}' is the name of a file or folder of the working directory. Put it beside the graph, or allow its folder: --data-root FOLDER."
        )
    return found


def _files(stated: Stated, folder: Path) -> list[Path]:
    """What `datasets` would read of a folder: its README and its state may name files elsewhere, and a file may be a link.

    Raises:
        DataError: an address is named.
    """
    from datasets import load_dataset_builder

    if any((folder / name).is_file() for name in _SAVED):
        whole = folder / _SAVED[0]
        splits = json.loads(whole.read_text("utf-8"))["splits"] if whole.is_file() else [""]
        states = [folder / split / _SAVED[1] for split in splits]
        named = {state: json.loads(state.read_text("utf-8"))["_data_files"] for state in states}
        tables = [state.parent / one["filename"] for state, files in named.items() for one in files]
        return [*states, *(state.with_name("dataset_info.json") for state in states), *tables]
    found = load_dataset_builder(str(folder), stated.config, revision=stated.revision).config.data_files or {}
    paths = [str(file) for files in found.values() for file in files]
    address = next((path for path in paths if "://" in path), None)
    if address is not None:
        raise DataError(f"hub data set '{stated.hub}': its folder names '{address}'. Put the file into the folder.")
    return list(map(Path, paths))


def _loaded(stated: Stated, split: str, folder: Path | None) -> Dataset:
    from datasets import DatasetDict, ReadInstruction, concatenate_datasets, load_dataset, load_from_disk

    if folder is None or not any((folder / name).is_file() for name in _SAVED):
        source = str(folder or stated.hub)
        return load_dataset(source, stated.config, split=split, revision=stated.revision)
    saved = load_from_disk(str(folder))
    parts = dict(saved) if isinstance(saved, DatasetDict) else {"train": saved}
    asked = ReadInstruction.from_spec(split).to_absolute({name: len(part) for name, part in parts.items()})
    chosen = [parts[one.splitname].select(range(one.from_, one.to)) for one in asked]
    if not any(map(len, chosen)):
        raise ValueError(f'Instruction "{split}" corresponds to no data!')
    return concatenate_datasets(chosen)


def _told(stated: Stated, split: str, folder: Path | None, error: BaseException) -> str:
    """The first cause of an error, and the way out."""
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    said = " ".join(str(causes[0]).split())
    first = " ".join(str(causes[-1]).split())
    text = said if first in said or "generating the dataset" not in said else first
    text = text[:700].rstrip(".!") + "."
    begin = f"hub data set '{stated.hub}' (split {split}) cannot be loaded: {text}"
    if "corresponds to no data" in text:
        return f"{begin} The split has too few rows for this share."
    if "nknown split" in text:
        return (
            f"{begin} Name a split that it has under 'split:' and 'test:', such as 'train[10%:]' and 'train[:10%]', or hold out a share of the "
            "rows: data.test_share in the config."
        )
    if "column names" in text or "the same columns" in text:
        return f"{begin} Its files have different columns: make them the same, or name one file with 'path:'."
    if folder is not None:
        return f"{begin} It is the folder {folder}."
    return f"{begin} Check the name and the network, or use 'path:'."
