"""A version of an index as it is read: its files are checked against each other, and stay on the disk until they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rag_graph.records import ContextNode
from rag_graph.retrieval.bm25 import Bm25Retriever
from rag_graph.retrieval.index_files import IndexFiles, understood, within
from rag_graph.retrieval.index_manifest import Manifest
from rag_graph.retrieval.index_parts import Parts
from rag_graph.retrieval.links import KINDS, Links
from rag_graph.retrieval.stems import Stems
from rag_graph.retrieval.terms import PARTS, TermCounts
from rag_graph.retrieval.vectors import FaissVectors

FAISS, PASSAGES = "faiss.index", "passages.jsonl"
_COUNTS = {"data": np.int32, "indices": np.int32, "indptr": np.int64}
_WEIGHTS = {**_COUNTS, "data": np.float32}
TYPES: dict[str, Any] = {
    "offsets": np.int64,
    "keys": np.int64,
    "links": np.int64,
    "link_kinds": np.int8,
    "vectors": np.float32,
    **{f"{name}_{part}": kind for name in ("terms", "names") for part, kind in _COUNTS.items()},
    **{f"bm25_{part}": kind for part, kind in _WEIGHTS.items()},
}
"""Name of each array -> the type of its numbers."""


class Opened:
    """A version of an index, with all its files opened and checked.

    folder: of the index.
    manifest, text: what it says of itself, also as it is written.

    Raises:
        DataError: it is damaged; names the file.
    """

    def __init__(self, folder: Path, manifest: Manifest, text: str) -> None:
        self.folder, self.manifest, self.text = folder, manifest, text
        self._files = IndexFiles(folder / manifest.version, manifest.files)
        self._faiss = FAISS if manifest.fingerprint.vectors == "faiss" else None
        if self._faiss:
            self._files.content(self._faiss)

    def parts(self) -> Parts:
        """Everything but the faiss index, memory-mapped.

        Raises:
            DataError: files do not fit each other; names one of them.
        """
        files, written = self._files, self.manifest.fingerprint
        size, stems, kinds = written.passages, Stems(written.language), tuple(written.links)
        terms = self._counts("terms", size)
        names = self._counts("names", size) if "phrase" in kinds else TermCounts()
        weights = {part: self._array(f"bm25_{part}", -1) for part in PARTS}
        with understood(files.folder / "bm25_indices.npy"):
            bm25 = Bm25Retriever.of_arrays(weights, terms, stems)
        keys = self._array("keys", size)
        ordered = within(keys, self.manifest.next_key) and bool((np.diff(keys) > 0).all())
        files.check("keys.npy", ordered, "its numbers do not ascend, or are too large")
        ends, found = self._array("links", -1, 2), self._array("link_kinds", -1)
        files.check("links.npy", within(ends, size) and len(ends) == len(found), "it links passages that are not there")
        files.check("link_kinds.npy", within(found, len(KINDS)), "it has kinds of links that there are not")
        vectors = None if written.dimension is None else self._array("vectors", size, written.dimension)
        return Parts(
            kinds,
            stems,
            PassageFile(files, size),
            keys,
            self.manifest.next_key,
            terms,
            names,
            Links(ends, found),
            vectors,
            bm25,
            written.corpus,
        )

    def _array(self, name: str, *shape: int) -> NDArray[Any]:
        return self._files.array(f"{name}.npy", TYPES[name], *shape)

    def _counts(self, name: str, size: int) -> TermCounts:
        arrays = {part: self._array(f"{name}_{part}", size + 1 if part == "indptr" else -1) for part in PARTS}
        vocabulary = self._files.texts(f"{name}_vocabulary.json")
        with understood(self._files.folder / f"{name}_indices.npy"):
            return TermCounts.of_arrays(vocabulary, arrays)

    def faiss(self) -> FaissVectors | None:
        """The faiss index that was kept, memory-mapped; None where the index is not searched by faiss.

        Raises:
            DataError: it is damaged, or holds other passages.
        """
        if self._faiss is None:
            return None
        content, written = self._files.content(self._faiss), self.manifest.fingerprint
        with understood(self._files.folder / self._faiss):
            found = FaissVectors.of_content(content)
            if (len(found), found.dimension) != (written.passages, written.dimension):
                raise ValueError(f"{len(found)} vectors of {found.dimension} numbers")
            return found


class PassageFile(Sequence[ContextNode]):
    """Passages of an opened index, read from its memory-mapped file when asked for."""

    def __init__(self, files: IndexFiles, size: int) -> None:
        self._offsets: NDArray[np.int64] = files.array("offsets.npy", np.int64, size + 1)
        self._bytes = files.content(PASSAGES)
        self._path = files.folder / PASSAGES
        fits = self._offsets[0] == 0 and self._offsets[-1] == len(self._bytes) and (np.diff(self._offsets) > 0).all()
        files.check("offsets.npy", bool(fits), f"it does not fit {PASSAGES}")

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
        with understood(self._path):
            row = json.loads(self._bytes[int(self._offsets[place]) : int(self._offsets[place + 1])])
            node = ContextNode(**{**row, "links": tuple(row["links"])})
            if not all(
                isinstance(text, str) for text in (node.id, node.node, node.title, node.text, node.source, *node.links)
            ):
                raise ValueError(f"passage {place + 1} has a value that is no text")
            return node

    def __iter__(self) -> Iterator[ContextNode]:
        return (self[place] for place in range(len(self)))
