"""Replies of judges on disk: what was asked once is not asked again, by any process. Failures are not kept.

It is a SQLite database of `diskcache_community`, so several processes may share it. Values are JSON: reading them runs no code.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_graph.errors import need
from rag_graph.runtime import cache_folder


class Cache:
    """
    Args:
        folder: where the replies are; one judge, one folder. None: nothing is kept.
        megabytes: the most that it holds; the oldest replies go first. 0: nothing is kept.
    """

    def __init__(self, folder: Path | None, megabytes: int) -> None:
        self._disk: Any = None
        if folder is None or megabytes == 0:
            return
        need("the cache of a judge", "diskcache_community")
        import diskcache_community

        self._problems = (sqlite3.Error, OSError, ValueError, diskcache_community.Timeout)
        try:
            self._disk = diskcache_community.Cache(
                str(folder), disk=diskcache_community.JSONDisk, size_limit=megabytes * 2**20
            )
        except self._problems as error:
            self._give_up(folder, error)

    def get(self, key: str) -> dict[str, Any] | None:
        """What was kept under a key."""
        if self._disk is None:
            return None
        try:
            found = self._disk.get(key, retry=True)
        except self._problems as error:
            self._give_up(self._disk.directory, error)
            return None
        return found if isinstance(found, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a reply."""
        if self._disk is None:
            return
        try:
            self._disk.set(key, dict(value), retry=True)
        except self._problems as error:
            self._give_up(self._disk.directory, error)

    def _give_up(self, folder: object, error: Exception) -> None:
        """A cache that cannot be used costs money, and not the run."""
        self._disk = None
        warnings.warn(
            f"{folder}: the cache of a judge cannot be used ({type(error).__name__}: {error}). The run goes on without it: answers that were judged "
            "before are paid for again. Free some space, or delete the folder.",
            RuntimeWarning,
            stacklevel=3,
        )


def key_of(settings: Mapping[str, Any]) -> str:
    """The key of a request: of all that its reply depends on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def folder_of(backend: str, model: str, base_url: str | None) -> Path:
    """The folder of the replies of one model at one place."""
    return cache_folder() / "judges" / key_of({"backend": backend, "model": model, "base_url": base_url})[:16]
