"""An index as a folder: a version in a folder of its own, and a manifest that names it and is replaced in one step.

Who opens an index opens all files of the version that the manifest names. Where that version is deleted meanwhile, the manifest names another
one by then, and that is opened: so a reader gets the old index or the new one, whole.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from rag_graph.errors import DataError
from rag_graph.retrieval.index_files import content_hash
from rag_graph.retrieval.index_manifest import MANIFEST, Fingerprint, Manifest, manifest_text
from rag_graph.retrieval.index_parts import Parts
from rag_graph.retrieval.opened_index import FAISS, TYPES, Opened
from rag_graph.retrieval.vectors import FaissVectors
from rag_graph.runtime import to_json
from rag_graph.stored_file import plain_file

LOCK = ".lock"
VERSION = re.compile(r"[0-9a-f]{32}")


class IndexFolder:
    """
    Args:
        folder: where the index is, or is to be.
        seen: the manifest that was there, if it was opened.
    """

    def __init__(self, folder: str | Path, seen: str | None = None) -> None:
        self.path = Path(folder).resolve()
        self._seen = seen

    def open(self) -> Opened:
        """The index that is there, with every file hashed.

        Raises:
            DataError: there is none, it is damaged, or it is of another format; names the file.
        """
        while True:
            manifest, text = Manifest.read(self.path / MANIFEST)
            try:
                return Opened(self.path, manifest, text)
            except DataError:
                if self._text() == text:
                    raise  # else it was replaced meanwhile

    def is_current(self) -> bool:
        """False where another index was put here since this one was opened or written."""
        return self._text() == self._seen

    def _text(self) -> str | None:
        try:
            return manifest_text(self.path / MANIFEST)
        except DataError:
            return None

    def write(
        self, parts: Parts, faiss: FaissVectors | None, id: str, fingerprint: Mapping[str, Any]
    ) -> Manifest | None:
        """Replace what the folder holds; the manifest of what it held before, None where there was none that can be read.

        Raises:
            DataError: see `PassageIndex.save`.
        """
        try:
            self._check_place()
            was_there = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                replaced = self._replaced()
                version = self.path / uuid.uuid4().hex
                try:
                    manifest = Manifest(
                        id=id,
                        version=version.name,
                        next_key=parts.next_key,
                        fingerprint=Fingerprint(**fingerprint),
                        files=_fill(version, parts, faiss),
                    )
                    with _new_file(version / MANIFEST) as handle:
                        handle.write(manifest.text().encode())
                    os.replace(version / MANIFEST, self.path / MANIFEST)
                except BaseException:
                    shutil.rmtree(version, ignore_errors=True)
                    if not was_there:
                        with suppress(OSError):
                            (self.path / LOCK).unlink()
                            self.path.rmdir()
                    raise
                self._seen = manifest.text()
                self._delete_others(version.name)
        except (OSError, UnicodeError) as error:
            raise DataError(f"{self.path}: the index cannot be written: {error}.") from None
        return replaced

    def _check_place(self) -> None:
        """Nothing of others is there: an index, what is left of one, or an empty folder."""
        if os.path.lexists(self.path / MANIFEST) or not self.path.exists():
            return
        if not self.path.is_dir() or any(not _is_ours(found.name) for found in self.path.iterdir()):
            raise DataError(f"{self.path}: there is something else at this place already. Choose another folder.")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"{self.path}: another process is writing this index. Try again when it is done.") from None
        try:
            yield
        finally:
            lock.release()

    def _replaced(self) -> Manifest | None:
        try:
            found, text = Manifest.read(self.path / MANIFEST)
        except DataError:
            return None  # a damaged index may be replaced
        if self._seen not in (None, text):
            raise DataError(
                f"{self.path}: another has changed this index since it was opened. Open it again and repeat the change."
            )
        return found

    def _delete_others(self, version: str) -> None:
        for found in self.path.iterdir():
            if VERSION.fullmatch(found.name) and found.name != version:
                shutil.rmtree(found, ignore_errors=True)


def _is_ours(name: str) -> bool:
    return name == LOCK or VERSION.fullmatch(name) is not None


def _fill(folder: Path, parts: Parts, faiss: FaissVectors | None) -> dict[str, str]:
    """Write the files of a version, onto the disk; name -> hash."""
    folder.mkdir()
    offsets = [0]
    with _new_file(folder / "passages.jsonl") as handle:
        for node in parts.passages:
            offsets.append(offsets[-1] + handle.write(to_json(asdict(node)).encode() + b"\n"))
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "offsets": np.array(offsets, np.int64),
        "keys": parts.keys,
        "links": parts.links.ends,
    }
    arrays |= {"link_kinds": parts.links.kinds} | ({} if parts.vectors is None else {"vectors": parts.vectors})
    arrays |= {f"bm25_{part}": array for part, array in parts.bm25.arrays().items()}
    for name, counts in (("terms", parts.terms), ("names", parts.names)):
        arrays |= {f"{name}_{part}": array for part, array in counts.arrays().items()}
        with _new_file(folder / f"{name}_vocabulary.json") as handle:
            handle.write(to_json(list(counts.vocabulary)).encode())
    for name, array in arrays.items():
        with _new_file(folder / f"{name}.npy") as handle:
            np.lib.format.write_array(handle, np.ascontiguousarray(array, TYPES[name]), (1, 0), allow_pickle=False)
    if faiss is not None:
        faiss.save(folder / FAISS)
    hashes = {}
    for path in sorted(folder.iterdir()):
        with plain_file(path) as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            hashes[path.name] = content_hash(content)
    return hashes


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    with path.open("xb") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())
