"""Every error that this package raises on purpose. They have one root class, so a caller can catch exactly these.

A message says where, what is wrong, and how to fix it. `near_miss` adds "Did you mean ...?" for a misspelt name.
"""

from __future__ import annotations

import difflib
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


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
