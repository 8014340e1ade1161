"""Scorers that a config names, in a run: where their code was when the run began, and whether it may run now.

A run keeps the path of the code and its digest, not a copy. A copy inside the run folder would run when somebody else opens the folder, who never
saw the code. So the code of an opened run is an installed module, a file at the path that the run recorded, or a file of the folder that the user
names. A file inside the run folder is refused, and so is a file of another user in a run of another user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_graph.config import RunConfig
from rag_graph.errors import ConfigError, DataError
from rag_graph.own_code import digest_of, load, locate_all, parse, source_of


@dataclass(frozen=True, slots=True)
class NamedScorer:
    """One scorer that a config names.

    reference: as in the resolved config: an installed module, or the absolute path of a file, and the function.
    file: where its code is. digest: SHA-256 of the file.
    """

    reference: str
    file: Path
    digest: str

    @property
    def name(self) -> str:
        """How a manifest identifies it."""
        return f"{parse(self.reference).function}#{self.digest[:6]}"

    def load(self) -> Callable[..., Any]:
        """
        Raises:
            ConfigError: the code cannot be imported, or lacks the function.
        """
        return load(self.reference)

    def record(self) -> dict[str, str]:
        return {"reference": self.reference, "file": str(self.file), "sha256": self.digest}


def named_scorers(config: RunConfig, given: Collection[str] = ()) -> dict[str, NamedScorer]:
    """The scorers that the config of a new run names.

    Args:
        given: nodes for which functions were given in Python.

    Raises:
        ConfigError: code that is not there, or a node that is both named and given.
    """
    twice = sorted(set(given) & set(config.scorers))
    if twice:
        raise ConfigError(
            f"scorers.{twice[0]}: the config names this scorer, and one was given in Python. Leave one out."
        )
    return {node: _named(node, reference) for node, reference in config.scorers.items()}


def scorers_of_run(
    path: Path, scorers: Mapping[str, str], given: Collection[str] = (), code: str | Path | None = None
) -> dict[str, NamedScorer]:
    """The scorers that the config of a run folder names, without those in `given`. Their code is found and judged here, and runs later.

    Args:
        path: the run folder.
        code: a folder that has the modules now; None: they are where they were.

    Raises:
        DataError: code that is gone, or that may not run unseen.
        ConfigError: `code` lacks a module.
    """
    wanted = {node: reference for node, reference in scorers.items() if node not in given}
    if code is not None:
        if not Path(code).is_dir():
            raise ConfigError(f"code (--code) {code}: no such folder.")
        moved = {node: parse(reference).short for node, reference in wanted.items()}
        return {
            node: _named(node, found) for node, found in locate_all(moved, Path(code).absolute(), "scorers").items()
        }
    remedy = "Name the folder that has it now: Run(path, code=FOLDER), --code FOLDER; or give the function in Python, scorers={...}."
    found = {}
    for node, reference in wanted.items():
        if parse(reference).is_file:
            _may_run(path, node, Path(parse(reference).module), remedy)
        try:
            found[node] = _named(node, reference)
        except ConfigError as error:
            raise DataError(f"{path}: {error} {remedy}") from None
    return found


def _named(node: str, reference: str) -> NamedScorer:
    try:
        file = source_of(reference)
    except ConfigError as error:
        raise ConfigError(f"scorers.{node}: {error}") from None
    return NamedScorer(reference, file, digest_of(file))


def _may_run(run: Path, node: str, file: Path, remedy: str) -> None:
    """
    Raises:
        DataError: the file is no absolute path, is in the run folder, or both it and the run are another user's.
    """
    if not file.is_absolute() or file.resolve().is_relative_to(run.resolve()):
        raise DataError(
            f"{run}: the code of scorer '{node}' is inside the run folder ({file}), and code that comes with a run does not run by itself. "
            f"Read it. {remedy}"
        )
    if hasattr(os, "getuid") and file.is_file():
        me = os.getuid()
        if me != file.stat().st_uid and me != (run / "config.yaml").stat().st_uid:
            raise DataError(
                f"{run}: the run and the code of its scorer '{node}' ({file}) are another user's, and such code does not run by itself. Read it. {remedy}"
            )
