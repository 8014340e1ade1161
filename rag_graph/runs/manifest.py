"""Where a run's numbers come from: what is written into its folder when it begins, and checked when it is used again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag_graph.config import RunConfig
from rag_graph.data.load import RunData
from rag_graph.errors import DataError, redacted
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import ContextNode
from rag_graph.runs.files import RunFiles
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runtime import to_json, write_atomically, write_json
from rag_graph.stored_file import read_text
from rag_graph.version import __version__

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "torch-geometric",
    "networkx",
    "numpy",
    "bm25s",
)


def describe_run(
    folder: Path, config: RunConfig, graph: AuxiliaryGraph, data: RunData, own: OwnParts, command: Sequence[str]
) -> None:
    """Write config, graph, contexts and manifest into the folder of a run that begins."""
    graph_text = graph.to_yaml()
    graph_hash = _hash(graph_text)
    write_atomically(folder / "config.yaml", config.to_yaml())
    write_atomically(folder / "graph.yaml", graph_text)
    (folder / "contexts").mkdir(exist_ok=True)
    for split, nodes in data.contexts.items():
        rows = (to_json(asdict(node)) + "\n" for node in nodes)
        write_atomically(folder / f"contexts/{split}.jsonl", "".join(rows))
    about = manifest(config.seed, list(command), data.hashes, config.fingerprint(), graph_hash)
    more = {"graph_root": str(graph.root.resolve()), **own.in_manifest()}
    write_json(folder / "manifest.json", {**about, **more})


def saved_contexts(folder: Path, split: str) -> list[ContextNode]:
    """The context nodes that the run used.

    Raises:
        DamagedFileError: their file is missing or damaged.
    """
    return [ContextNode(**{**row, "links": tuple(row["links"])}) for row in RunFiles(folder).contexts(split)]


CONFIG, GRAPH = "config.yaml", "graph.yaml"
"""What a run was asked to do; an edited one counts as a part that has changed."""


def config_and_graph(folder: Path, config: RunConfig) -> dict[str, str]:
    """Name of the file -> the hash of what it says now, as the manifest has it."""
    return {CONFIG: config.fingerprint(), GRAPH: _hash(read_text(folder / GRAPH))}


def check_asked(
    folder: Path, config: RunConfig, manifest: Mapping[str, Any], accept_changed: Collection[str]
) -> list[dict[str, str]]:
    """A record of each of config.yaml and graph.yaml that is not what the run began with, and that may differ.

    Raises:
        DataError: one of them has changed, and `accept_changed` does not name it.
    """
    then = {CONFIG: manifest["config_hash"], GRAPH: manifest["graph_hash"]}
    now = config_and_graph(folder, config)
    refused = [name for name in then if now[name] != then[name] and name not in accept_changed]
    if refused:
        options = " ".join(f"--accept-changed {name}" for name in refused)
        other = (
            f" It began with rag_graph {manifest['rag_graph']}, this is {__version__}."
            if manifest["rag_graph"] != __version__
            else ""
        )
        raise DataError(
            f"{folder}: {' and '.join(refused)} changed since the run began, so its results would be of two settings.{other} Restore what was there, or start a "
            f"new run. If the change is meant, say so: {options}, in Python accept_changed={refused}."
        )
    when = _now()
    return [
        {"when": when, "part": name, "was": then[name], "now": now[name]} for name in then if now[name] != then[name]
    ]


def _hash(graph_text: str) -> str:
    return hashlib.sha256(graph_text.encode()).hexdigest()[:16]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


RUNS_PROGRAMS = re.compile(
    r"(filter\.|diff\.|merge\.|include|core\.(fsmonitor|hookspath|sshcommand|gitproxy|alternaterefscommand|attributesfile|worktree)|submodule\.)",
    re.I,
)
"""Keys of a repository's config by which a question to git may run a program, or look elsewhere."""


def check_data(folder: Path, manifest: Mapping[str, Any], data: RunData, remedy: str) -> None:
    """Raises DataError where the data sets are not those that the run began with."""
    stated = manifest["data"]
    changed = [name for name in {**stated, **data.hashes} if stated.get(name) != data.hashes.get(name)]
    if changed:
        raise DataError(
            f"{folder}: the data sets have changed since the run began: {', '.join(changed)} (their hashes are in manifest.json). {remedy}"
        )


def manifest(
    seed: int, command: list[str], data: Mapping[str, str], config_hash: str, graph_hash: str
) -> dict[str, Any]:
    """What is needed to say where a number came from: versions, git state, machine, seeds, hashes of the data."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "rag_graph": __version__,
        "started": _now(),
        "command": list(map(redacted, command)),
        "seed": seed,
        "config_hash": config_hash,
        "graph_hash": graph_hash,
        "data": dict(data),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions,
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """The commit of the working directory, and whether its files differ from it; `dirty` None where asking could run a program.

    `git status` runs what the repository's own config names (file-system monitors, filters), and the working directory may be anybody's. So it is asked only
    where that config names nothing of the kind.
    """

    def ask(*args: str) -> str:
        command = [
            "git",
            "--no-optional-locks",
            "-c",
            "core.fsmonitor=false",
            "-c",
            f"core.hooksPath={os.devnull}",
            *args,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        commit = ask("rev-parse", "HEAD")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    try:
        keys = ask("config", "--list", "--show-scope", "--name-only", "--includes").splitlines()
        own = [key for scope, _, key in (line.partition("\t") for line in keys) if scope in ("local", "worktree")]
        quiet = not any(RUNS_PROGRAMS.match(key) for key in own)
        return {"commit": commit, "dirty": bool(ask("status", "--porcelain")) if quiet else None}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {"commit": commit, "dirty": None}
