"""`rag-graph init`."""

from __future__ import annotations

from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from rag_graph.errors import ConfigError
from rag_graph.terminal import echo


class Kind(StrEnum):
    """What a folder is for; each is a folder of files beside this module."""

    RUN = "run"
    REWARD = "reward"


NEXT = {Kind.RUN: "rag-graph train config.yaml", Kind.REWARD: "python score.py"}


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, or one without such files.", metavar="FOLDER")],
    kind: Annotated[
        Kind,
        typer.Option(
            help="`run`: a graph, a config and data to train with. `reward`: a graph, functions that score and logged answers."
        ),
    ] = Kind.RUN,
) -> None:
    """Write a graph, a config and small data to start from; they work as written. Overwrites nothing.

    Examples:

    `rag-graph init my_goals`

    `rag-graph init my_reward --kind reward`
    """
    shipped = resources.files("rag_graph.cli") / "starter" / kind.value
    texts = {file.name: file.read_text(encoding="utf-8") for file in shipped.iterdir() if file.is_file()}
    taken = sorted(name for name in texts if (folder / name).exists())
    if taken:
        raise ConfigError(f"{folder}: holds {', '.join(taken)} already. Nothing was written. Choose another folder.")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file, not a folder. Choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(texts.items()):
        (folder / name).write_text(text, encoding="utf-8")
        echo(f"wrote {folder / name}")
    echo(f"Next: cd {folder}; {NEXT[kind]}   (README.md says what each file is)")
