"""Where data may lie: beside the graph, or under $RAG_GRAPH_DATA.

A graph file may be anybody's. So it reads files in its own folder and in the folders that the user names, and nowhere else: not by `..`, not by an
absolute path, not through a link.
"""

from __future__ import annotations

import os
from pathlib import Path

from rag_graph.errors import DataError

DATA_VARIABLE = "RAG_GRAPH_DATA"
"""Folders of data sets, as in PATH."""


def data_folders() -> list[Path]:
    """The folders that $RAG_GRAPH_DATA names, in order."""
    return [Path(folder) for folder in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if folder]


def allow(folder: Path) -> None:
    """Let graphs of this process, and of those that it starts, read the files of a folder.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"--data-root {folder}: no such folder.")
    os.environ[DATA_VARIABLE] = os.pathsep.join(map(str, [folder.resolve(), *data_folders()]))


def places_of(stated: str, root: Path) -> list[Path]:
    """Where a path of a graph file may be meant, in order: beside the graph, then under each data folder. Those that are there lie in an allowed folder.

    Args:
        root: the folder of the graph file.

    Raises:
        DataError: what is there lies in no allowed folder.
    """
    places = [folder / stated for folder in (root, *data_folders())]
    for place in places:
        if place.exists():
            check_allowed(place, stated, root)
    return places


def check_allowed(place: Path, stated: str, root: Path) -> None:
    """Raises DataError where a file or folder lies in no allowed folder, by its own path or through links.

    Args:
        stated: what the graph file says, for the message.
        root: the folder of the graph file.
    """
    real = place.resolve()
    if not any(real.is_relative_to(folder.resolve()) for folder in (root, *data_folders())):
        raise DataError(
            f"'{stated}' is {real}, outside the folder of the graph, {root}. A graph may be anybody's, so it reads no other files unless "
            f"you allow their folder: --data-root {real.parent}, or {DATA_VARIABLE}={real.parent}."
        )
