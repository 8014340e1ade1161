"""The files of one version of an index: opened together, known by hashes of their content, memory-mapped.

What was hashed is what is read: a file is opened once, and neither its name nor its folder is looked up again. So a version that is deleted meanwhile stays
whole for those who have opened it.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from rag_graph.errors import DataError, RagGraphError
from rag_graph.stored_file import plain_file

Content = mmap.mmap | bytes


def content_hash(content: Content) -> str:
    """32 hex digits (XXH3, 128 bits). They tell damage and exchange, not an attacker, who could write them as well."""
    return xxhash.xxh3_128_hexdigest(content)


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Raises DataError with the name of the file where its content is not understood."""
    try:
        yield
    except RagGraphError:
        raise
    except Exception as error:  # libraries raise errors of many types on content that they do not understand
        what = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise damaged(path, f"{what:.200}") from None


def damaged(path: Path, what: str) -> DataError:
    """What to say of an index file that cannot be used."""
    return DataError(f"{path}: this index is damaged: {what}. Build it again: rag-graph index FOLDER --passages FILE")


class IndexFiles:
    """
    Args:
        folder: the version.
        hashes: name of each file in it -> hash of its content.

    Raises:
        DataError: a file is missing, is a link, a pipe or a folder, or its content has another hash; names the file.
    """

    def __init__(self, folder: Path, hashes: Mapping[str, str]) -> None:
        self.folder = folder
        if folder.is_symlink():
            raise damaged(folder, "it is a link, which is not followed")
        self._contents: dict[str, Content] = {}
        for name in hashes:
            with understood(folder / name), plain_file(folder / name) as handle:
                size = os.fstat(handle.fileno()).st_size
                self._contents[name] = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        for name, content in self._contents.items():
            if content_hash(content) != hashes[name]:
                raise damaged(folder / name, "its content is not what was written")

    def __contains__(self, name: str) -> bool:
        return name in self._contents

    def content(self, name: str) -> Content:
        """Raises DataError where the index has no such file."""
        if name not in self._contents:
            raise damaged(self.folder / name, "its settings do not name this file")
        return self._contents[name]

    def array(self, name: str, dtype: Any, *shape: int) -> NDArray[Any]:
        """The array of a .npy file, not copied.

        Args:
            shape: -1 stands for any length.

        Raises:
            DataError: it has another type or shape.
        """
        content = self.content(name)
        with understood(self.folder / name):
            found = _npy(content)
            if found.dtype != np.dtype(dtype) or found.ndim != len(shape):
                raise ValueError(f"an array of {found.dtype} with {found.ndim} dimensions, not of {np.dtype(dtype)}")
            if any(wanted not in (-1, length) for wanted, length in zip(shape, found.shape, strict=True)):
                raise ValueError(f"an array of the shape {found.shape}, not {shape}")
            return found

    def texts(self, name: str) -> list[str]:
        """A JSON list of texts.

        Raises:
            DataError: it is something else.
        """
        content = self.content(name)
        with understood(self.folder / name):
            found = json.loads(bytes(content))
            if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
                raise ValueError("a list of texts is expected")
            return found

    def check(self, name: str, fits: bool, what: str) -> None:
        """Raises DataError, which names the file, where its content does not fit."""
        if not fits:
            raise damaged(self.folder / name, what)


def within(places: NDArray[Any], end: int) -> bool:
    """Every number is in [0, end)."""
    return not places.size or bool(places.min() >= 0 and places.max() < end)


def _npy(content: Content) -> NDArray[Any]:
    """NumPy's own reader copies, or maps by name."""
    if isinstance(content, bytes):
        raise ValueError("the file is empty")
    content.seek(0)
    version = np.lib.format.read_magic(content)  # type: ignore[arg-type]
    if version != (1, 0):
        raise ValueError(f"a .npy file of version {version}")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(content)  # type: ignore[arg-type]
    if dtype.hasobject or by_columns:
        raise ValueError("an array of objects, or by columns")
    start, count = content.tell(), int(np.prod([int(length) for length in shape], dtype=object))
    if min(shape, default=0) < 0 or start + count * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes do not hold an array of the shape {shape}")
    return np.frombuffer(content, dtype, count, start).reshape(shape)
