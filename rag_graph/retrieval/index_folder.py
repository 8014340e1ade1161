"""An index as a folder: written beside and moved into place, stamped, memory-mapped when read."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rag_graph.errors import DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.bm25 import Bm25Retriever
from rag_graph.retrieval.index_parts import Parts
from rag_graph.retrieval.links import Links
from rag_graph.retrieval.stems import Stems
from rag_graph.retrieval.terms import TermCounts
from rag_graph.retrieval.vectors import FaissVectors, Keys
from rag_graph.runtime import to_json

FORMAT = 3
"""3: stems of titles and texts, and their language. 2 had words, and a title only where its text lacks it."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which index a folder holds, the number that the next passage gets, and the fingerprint that must fit."""

    id: str
    next_key: int
    fingerprint: dict[str, Any]


class IndexFolder:
    """
    Args:
        folder: where the index is, or is to be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder).resolve()
        self._seen: str | None = None

    def stamp(self) -> Stamp:
        """What the folder says of itself; every file has the size that was written.

        Raises:
            DataError: there is no index, it is damaged, or it is of another format.
        """
        path = self.path / MANIFEST
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DataError(
                f"{self.path}: no index is there. Make one: rag-graph index {self.path} --passages FILE"
            ) from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
        with self._reading(MANIFEST):
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise DataError(
                    f"{self.path}: an index of format {content['format']}; this version reads {FORMAT}. Build it again."
                )
            stamp = Stamp(content["id"], content["next_key"], dict(content["fingerprint"]))
            for name in ("passages", "corpus", "encoder", "dimension", "links", "language", "vectors"):
                stamp.fingerprint[name]  # a KeyError says that it is damaged
            for name, size in content["files"].items():
                if (self.path / name).stat().st_size != size:
                    raise ValueError(f"'{name}' has not the size that was written")
        self._seen = text
        return stamp

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except (OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise DataError(
                f"{self.path}: this index is damaged ({what}: {error}). Build it again: rag-graph index {self.path} --passages FILE"
            ) from None

    def read(self, stamp: Stamp) -> Parts:
        """Everything but the faiss index, memory-mapped.

        Raises:
            DataError: a file is missing or damaged.
        """
        folder = self.path
        with self._reading("files"):
            terms = TermCounts.load(folder / "terms")
            names = TermCounts.load(folder / "names") if "phrase" in stamp.fingerprint["links"] else TermCounts()
            links = Links(_mapped(folder / "links.npy"), _mapped(folder / "link_kinds.npy"))
            vectors = None if stamp.fingerprint["encoder"] is None else _mapped(folder / "vectors.npy")
            stems = Stems(stamp.fingerprint["language"])
            bm25 = Bm25Retriever.load(folder / "bm25", terms, stems)
            return Parts(
                tuple(stamp.fingerprint["links"]),
                stems,
                PassageFile(folder),
                np.load(folder / "keys.npy"),
                stamp.next_key,
                terms,
                names,
                links,
                vectors,
                bm25,
                stamp.fingerprint["corpus"],
            )

    def faiss(self, keys: Keys) -> FaissVectors | None:
        """The faiss index that was kept; None where there is none, or it holds other passages."""
        path = self.path / "faiss.index"
        if not path.is_file():
            return None
        with self._reading("faiss.index"):
            found = FaissVectors.load(path)
        return found if len(found) == len(keys) else None

    def write(self, parts: Parts, faiss: FaissVectors | None, stamp: Stamp) -> Stamp | None:
        """Replace what the folder holds; what it held before.

        Raises:
            DataError: see `PassageIndex.save`.
        """
        replaced = self._replaceable()
        beside: Path | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".new", dir=self.path.parent))
            beside.chmod(0o755)
            _fill(beside, parts, faiss)
            sizes = {str(f.relative_to(beside)): f.stat().st_size for f in sorted(beside.rglob("*")) if f.is_file()}
            text = json.dumps({"format": FORMAT, **asdict(stamp), "files": sizes}, indent=2) + "\n"
            (beside / MANIFEST).write_text(text, encoding="utf-8")
            self._replaceable()  # again: writing took a while
            self._swap(beside)
        except (OSError, UnicodeError) as error:
            raise DataError(f"{self.path}: the index cannot be written: {error}.") from None
        finally:
            if beside is not None:
                shutil.rmtree(beside, ignore_errors=True)
        self._seen = text
        return replaced

    def _replaceable(self) -> Stamp | None:
        """The stamp of what is there, None where nothing is."""
        if not self.path.exists():
            return None
        if not (self.path / MANIFEST).is_file():
            raise DataError(f"{self.path}: there is something else at this place already. Choose another folder.")
        mine = self._seen
        try:
            found = self.stamp()
        except DataError:
            return None  # a damaged index may be replaced
        if mine is not None and mine != self._seen:
            self._seen = mine
            raise DataError(
                f"{self.path}: another has changed this index since it was opened. Open it again and repeat the change."
            )
        return found

    def _swap(self, beside: Path) -> None:
        if not self.path.exists():
            os.replace(beside, self.path)
            return
        old = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".old", dir=self.path.parent))
        try:
            os.replace(self.path, old)
            try:
                os.replace(beside, self.path)
            except OSError:
                os.replace(old, self.path)
                raise
        finally:
            shutil.rmtree(old, ignore_errors=True)


def _fill(folder: Path, parts: Parts, faiss: FaissVectors | None) -> None:
    offsets = [0]
    with (folder / "passages.jsonl").open("wb") as handle:
        for node in parts.passages:
            offsets.append(offsets[-1] + handle.write(to_json(asdict(node)).encode() + b"\n"))
    np.save(folder / "offsets.npy", np.array(offsets, np.int64))
    parts.terms.save(folder / "terms")
    parts.bm25.save(folder / "bm25")
    parts.names.save(folder / "names")
    np.save(folder / "keys.npy", parts.keys)
    np.save(folder / "links.npy", parts.links.ends)
    np.save(folder / "link_kinds.npy", parts.links.kinds)
    if parts.vectors is not None:
        np.save(folder / "vectors.npy", parts.vectors)
    if faiss is not None:
        faiss.save(folder / "faiss.index")


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


class PassageFile(Sequence[ContextNode]):
    """Passages of an index folder, read from a memory-mapped file when asked for."""

    def __init__(self, folder: Path) -> None:
        self._offsets: NDArray[np.int64] = _mapped(folder / "offsets.npy")
        with (folder / "passages.jsonl").open("rb") as handle:
            self._bytes = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, place: int) -> ContextNode: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ContextNode]: ...
    def __getitem__(self, place: int | slice) -> ContextNode | Sequence[ContextNode]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        row = json.loads(self._bytes[int(self._offsets[place]) : int(self._offsets[place + 1])])
        return ContextNode(**{**row, "links": tuple(row["links"])})

    def __iter__(self) -> Iterator[ContextNode]:
        return (self[place] for place in range(len(self)))
