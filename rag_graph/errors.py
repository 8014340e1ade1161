"""Every error that this package raises on purpose. They have one root class, so a caller can catch exactly these.

A message says where, what is wrong, and how to fix it. `near_miss` adds "Did you mean ...?" for a misspelt name.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterable


class RagGraphError(Exception):
    """Root of all errors of this package. `exit_code` is the exit code of the command line."""

    exit_code = 1


class GraphFileError(RagGraphError):
    """A graph-definition file is wrong. The message holds one line per problem, `file:line:column: place: what`."""

    exit_code = 2


class ConfigError(RagGraphError):
    """A run's configuration is wrong: unknown key, value out of range, settings that contradict each other."""

    exit_code = 2


class DataError(RagGraphError):
    """A data set, a context file or one of their rows cannot be used."""


class ModelError(RagGraphError):
    """A language model or an encoder cannot be loaded, or cannot do what is asked of it."""


class TrainingError(RagGraphError):
    """Training cannot continue. Everything written so far stays complete."""


EXTRAS: dict[str, str] = {
    "accelerate": "train",
    "datasets": "train",
    "gguf": "train",
    "peft": "train",
    "tokenizers": "train",
    "transformers": "train",
    "bm25s": "retrieval",
    "sentence_transformers": "retrieval",
    "pyarrow": "parquet",
    "faiss": "faiss",
    "milvus_lite": "milvus",
    "pymilvus": "milvus",
    "ray": "ray",
    "openai": "judges",
    "diskcache_community": "judges",
}
"""Module that only a part of the package needs -> the extra that installs it. `train` also installs the small ones of `retrieval` and `parquet`."""

TRAINING = ("transformers", "accelerate", "datasets", "peft", "tokenizers", "pyarrow", "bm25s")
"""What the model of a run needs, in training and afterwards."""


class MissingPackageError(RagGraphError, ImportError):
    """A package that only a part of `rag_graph` needs is not installed. The message names the extra that installs it."""


def need(what: str, *modules: str) -> None:
    """Say which extra to install, where a module that `what` needs is missing. Called before the import of an optional package.

    Args:
        what: the part of the package, as the message begins: "training".
        modules: top-level modules, all in `EXTRAS`.

    Raises:
        MissingPackageError: one of them is not installed.
    """
    missing = [module for module in modules if not _installed(module)]
    if missing:
        these = f"{', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise MissingPackageError(
            f'{what} needs {these}. Run: pip install "rag-graph[{EXTRAS[missing[0]]}]"', name=missing[0]
        )


def _installed(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
