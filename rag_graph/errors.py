"""Every error that this package raises on purpose. They have one root class, so a caller can catch exactly these.

A message says where, what is wrong, and how to fix it. `near_miss` adds "Did you mean ...?" for a misspelt name.
"""

from __future__ import annotations

import difflib
import heapq
import importlib.util
import re
import sys
from collections.abc import Iterable
from itertools import islice

_CREDENTIALS = re.compile(
    r"""(?P<scheme>\b(?!ssh|git\+ssh)[a-z][a-z0-9+.-]*://)[^\s/?#'"]+@|(?P<ssh>\b(?:git\+)?ssh://[^\s/?#'":@]*:)[^\s/?#'"]+@"""
    r"""|(?P<key>[?&](?:access_?token|api_?key|auth|key|passw(?:or)?d|secret|token)=)[^\s&#'"]+""",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text without passwords and tokens of the addresses in it: `http://user:password@host` becomes `http://***@host`."""

    def hidden(found: re.Match[str]) -> str:
        start = found["scheme"] or found["ssh"]
        return f"{start}***@" if start else f"{found['key']}***"

    return _CREDENTIALS.sub(hidden, text)


def check_no_secret(text: str) -> None:
    """Raises ValueError where an address in the text holds a password or a token: what is set is written down and shown."""
    if redacted(text) != text:
        raise ValueError(
            f"a password or a token in an address, {redacted(text)!r:.120}. Settings are written into folders and reports that are passed on. Give the address "
            "alone, and the secret in the environment: MILVUS_TOKEN for Milvus, HF_TOKEN for the hub, the variable that a judge's api_key_env names."
        )


class RagGraphError(Exception):
    """Root of all errors of this package. `exit_code` is the exit code of the command line. What it says holds no password of an address."""

    exit_code = 1

    def __str__(self) -> str:
        return redacted(super().__str__())


class GraphFileError(RagGraphError):
    """A graph-definition file is wrong. The message holds one line per problem, `file:line:column: place: what`."""

    exit_code = 2


class ConfigError(RagGraphError):
    """A run's configuration is wrong: unknown key, value out of range, settings that contradict each other."""

    exit_code = 2


class DataError(RagGraphError):
    """A data set, a context file or one of their rows cannot be used."""


class DamagedFileError(DataError):
    """A file that a run or a fit has written cannot be used: it is missing, cut short, or says something else than what was written."""


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
    "Stemmer": "retrieval",
    "py3langid": "retrieval",
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

TRAINING = ("transformers", "accelerate", "datasets", "peft", "tokenizers", "pyarrow", "bm25s", "Stemmer", "py3langid")
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


MOST_KNOWN, MOST_COMPARED = 5000, 64
"""Names that are looked at for a suggestion, and those that are compared letter by letter; letters of the misspelt name."""


def _alike_at_the_ends(one: str, other: str) -> int:
    return _alike(one, other) + _alike(one[::-1], other[::-1])


def _alike(one: str, other: str) -> int:
    """Letters by which both begin."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the known name closest to `name`, or an empty string."""
    name, names = str(name)[:MOST_COMPARED], [str(one) for one in islice(known, MOST_KNOWN)]
    if len(names) > MOST_COMPARED:  # comparing is slow: only those that begin or end alike
        names = heapq.nlargest(MOST_COMPARED, names, key=lambda one: _alike_at_the_ends(name, one))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
