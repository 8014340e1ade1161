"""Where the data set of a task is, and its rows: a file, a BEIR folder, or what `datasets` reads."""

from __future__ import annotations

from pathlib import Path

from rag_graph.data.beir import beir_rows, files_of, is_beir, is_qrels, no_layout
from rag_graph.data.hub import hub_rows
from rag_graph.data.roots import DATA_VARIABLE, check_allowed, data_folders, places_of
from rag_graph.data.tables import Rows, read_table
from rag_graph.errors import DataError
from rag_graph.graph.spec import Dataset


def find_file(stated: str, root: Path) -> Path:
    """Find a data file, or a BEIR folder, beside the graph or under $RAG_GRAPH_DATA.

    Raises:
        DataError: it is in none of these places, lies outside them, or is another folder.
    """
    places = places_of(stated, root)
    for place in places:
        if is_beir(place) or is_qrels(place):
            for file in files_of(place):
                check_allowed(file, f"{stated}: {file.name}", root)
        if place.is_file() or is_beir(place):
            return place
    for place in places:
        if place.is_dir():
            raise no_layout(place)
    hint = "" if data_folders() else f" ${DATA_VARIABLE} is not set: point it at the folder that holds your data sets."
    raise DataError(f"data file '{stated}' was not found at {' or '.join(map(str, places))}.{hint}")


def is_local(dataset: Dataset, root: Path) -> bool:
    """False where its rows would be fetched from the hub."""
    return dataset.hub is None or any(place.is_dir() for place in places_of(dataset.hub, root))


def read_rows(dataset: Dataset, split: str, root: Path) -> Rows:
    """Rows of one split ("train" or "test") of a data set in a file, in a BEIR folder, or read by `datasets`.

    Raises:
        DataError: missing file, unreadable format, bad line, unknown hub data set.
    """
    if dataset.hub is not None:
        yield from hub_rows(dataset, dataset.split if split == "train" else dataset.test or "test", root)
        return
    stated = dataset.path if split == "train" else dataset.test
    if stated is None:
        whole = find_file(str(dataset.path), root)
        if is_beir(whole):
            yield from beir_rows(whole, split)
            return
        raise DataError(
            f"the data set '{dataset.path}' states no 'test' file: there is no held-out part to evaluate on. State one, or hold a share of "
            "its rows out: data.test_share in the config, such as --set data.test_share=0.2."
        )
    yield from read_table(find_file(stated, root), split)
