"""A pool of passages, ready to be searched by any method; it can be saved, memory-mapped, and grow and shrink without being rebuilt."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rag_graph.config import DENSE_METHODS, LinkKind
from rag_graph.data.passages import check_links
from rag_graph.errors import ConfigError, DataError
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Retriever, Via, check_pool
from rag_graph.retrieval.bm25 import Bm25Retriever, add_texts
from rag_graph.retrieval.dense import DenseRetriever
from rag_graph.retrieval.encoder import Encoder
from rag_graph.retrieval.fusion import FusedRetriever, WeightedRetriever
from rag_graph.retrieval.links import Links, names_in, phrase_edges, shared_terms, stated_links, title_links
from rag_graph.retrieval.terms import TermCounts
from rag_graph.retrieval.vectors import ExactVectors, FaissVectors, Keys, MilvusVectors, Vectors, VectorStore
from rag_graph.retrieval.walk import ContextGraph, WalkRetriever
from rag_graph.runtime import to_json, write_atomically

FORMAT = 1
WALK_METHODS = ("walk", "hybrid_walk")


def passage_text(node: ContextNode) -> str:
    """What is searched: title and text; the title once."""
    return node.text if node.title in node.text else f"{node.title}. {node.text}"


class PassageIndex:
    """
    Args:
        passages: the pool, ids unique.
        encoder: of passages and queries; None leaves out the dense methods.
        links: which edges the context graph has: "link" (stated in the file), "title" (a text names a title), "phrase" (two passages
            share a capitalised name).
        vectors: where embeddings are searched: "exact", "faiss", or the URI of a Milvus (see `vectors.py`).

    Raises:
        DataError: no passage, or an id that stands there twice.
    """

    def __init__(
        self,
        passages: Sequence[ContextNode],
        encoder: Encoder | None = None,
        links: Sequence[LinkKind] = ("link", "title"),
        vectors: str = "exact",
        progress: bool = False,
    ) -> None:
        check_pool(len(passages))
        self.encoder, self.link_kinds = encoder, tuple(links)
        self.embedded_by = _encoder_identity(encoder)
        self.passages: Sequence[ContextNode] = list(passages)
        _check_ids(self.passages)
        self.keys: Keys = np.arange(len(passages))
        self.terms = TermCounts()
        add_texts(self.terms, [passage_text(node) for node in passages])
        self.names = TermCounts()
        if "phrase" in links:
            self.names.add(map(names_in, passages))
        self.vectors = _embed(encoder, passages, progress)
        self.searched_by, self.collection = vectors, ""
        self._store: FaissVectors | MilvusVectors | None = None
        if self.vectors is not None and vectors not in ("exact", "faiss"):
            about = f"{_corpus_hash(self.passages)}/{self.embedded_by}"
            self.collection = f"rag_graph_{hashlib.sha256(about.encode()).hexdigest()[:16]}"
        self.links = self._find_links(0)

    def __len__(self) -> int:
        return len(self.keys)

    def _find_links(self, new: int) -> Links:
        parts = [Links.of((), "link")]
        if "link" in self.link_kinds:
            parts.append(stated_links(self.passages))
        if "title" in self.link_kinds:
            parts.append(title_links(self.passages, self.terms, new))
        return Links.joined(parts)

    # ------------------------------------------------------------------ changes

    def add(self, passages: Sequence[ContextNode]) -> None:
        """Append passages: only they are tokenised, embedded and looked through for links. The index then equals one that was made of
        all.

        Raises:
            DataError: an id that is there already; a link to a passage that is nowhere.
        """
        new = len(self)
        everything = [*self.passages, *passages]
        _check_ids(everything)
        known = {node.id for node in everything}
        for node in passages:
            check_links(node, known, f"passage '{node.id}'")
        if self.encoder is None and self.vectors is not None:
            raise ConfigError(
                f"this index has embeddings by {self.embedded_by}: open it with that encoder to add to it."
            )
        self.passages = everything
        first = int(self.keys[-1]) + 1 if new else 0
        self.keys = np.concatenate([self.keys, np.arange(first, first + len(passages))])
        add_texts(self.terms, [passage_text(node) for node in passages])
        if "phrase" in self.link_kinds:
            self.names.add(map(names_in, passages))
        added = _embed(self.encoder, passages)
        if self.vectors is not None and added is not None:
            if self._store is not None:
                self._store.add(added, self.keys[new:])
            self.vectors = np.concatenate([self.vectors, added])
        self.links = Links.joined([self.links, self._find_links(new)])
        self._forget()

    def delete(self, ids: Sequence[str]) -> None:
        """Take passages out by id.

        Raises:
            DataError: an id that is not there; nothing would be left.
        """
        position = {node.id: place for place, node in enumerate(self.passages)}
        unknown = [name for name in ids if name not in position]
        if unknown:
            raise DataError(f"no passage has the id {', '.join(map(repr, unknown[:5]))}. Nothing was deleted.")
        gone = {position[name] for name in ids}
        rows = np.array([place for place in range(len(self)) if place not in gone], np.int64)
        check_pool(len(rows))
        if self._store is not None:
            self._store.delete(np.delete(self.keys, rows))
        self.links = self.links.keep(rows, len(self))
        self.passages = [self.passages[place] for place in rows]
        self.keys = self.keys[rows]
        self.terms.keep(rows)
        if "phrase" in self.link_kinds:
            self.names.keep(rows)
        if self.vectors is not None:
            self.vectors = self.vectors[rows]
        self._forget()

    def _forget(self) -> None:
        for name in ("bm25", "_shared_names"):
            self.__dict__.pop(name, None)

    # ------------------------------------------------------------------ searching

    @cached_property
    def bm25(self) -> Bm25Retriever:
        return Bm25Retriever(terms=self.terms)

    @property
    def store(self) -> VectorStore:
        """Where embeddings are searched; made when it is first asked for."""
        if self.vectors is None:
            raise ConfigError(
                "this index was made without an encoder: it has no embeddings. Index with --encoder NAME."
            )
        if self.searched_by == "exact":
            return ExactVectors(self.vectors, self.keys)
        if self._store is None:
            if self.searched_by == "faiss":
                self._store = FaissVectors(self.vectors, self.keys)
            else:
                self._store = MilvusVectors(self.searched_by, self.collection, self.vectors.shape[1])
                self._store.fill(self.vectors, self.keys)
        return self._store

    def dense(self, encoder: Encoder | None = None) -> DenseRetriever:
        """
        Args:
            encoder: of the queries, default the index's own.
        """
        encoder = encoder or self.encoder
        if self.vectors is None or encoder is None:
            raise ConfigError(
                f"the dense methods need {'an encoder' if self.embedded_by else 'an index made with --encoder NAME'}."
            )
        return DenseRetriever((), encoder, self.store, self.keys)

    def graph(self, grounds: Sequence[float] | None = None, damping: float = 0.5) -> ContextGraph:
        """The context graph; with `grounds`, a node for the task and an edge of this strength from each passage to it."""
        phrases = phrase_edges(self.names) if "phrase" in self.link_kinds else None
        return ContextGraph(len(self), self.links, phrases, grounds, damping)

    def retriever(
        self,
        method: str,
        encoder: Encoder | None = None,
        weights: Sequence[float] | None = None,
        damping: float = 0.5,
        epsilon: float = 0.0,
    ) -> Retriever:
        """What a method of `RetrievalConfig` names: bm25, dense, walk, hybrid or hybrid_walk.

        Args:
            weights: strength per passage, multiplied into scores and, in a walk, of an edge to the task's node.
        """
        if method not in ("bm25", *DENSE_METHODS, *WALK_METHODS):
            raise ConfigError(f"retrieval method '{method}': one of bm25, dense, walk, hybrid, hybrid_walk.")
        parts: list[Retriever] = [self.bm25] if method != "dense" else []
        if method in DENSE_METHODS:
            parts.append(self.dense(encoder))
        if weights is not None:
            parts = [WeightedRetriever(part, weights) for part in parts]
        if method in WALK_METHODS:
            return WalkRetriever(parts, self.graph(weights, damping), epsilon)
        return parts[0] if len(parts) == 1 else FusedRetriever(parts)

    def describe(self, via: Via | None, task: str = "the task") -> str:
        """The edge that a walk came by, in words."""
        if via is None:
            return ""
        if via.kind == "grounds":
            return f"by what grounds {task}"
        if via.kind == "phrase":
            return f"by a shared name, '{self._shared_names[via.node - len(self)]}'"
        other = self.passages[via.node]
        return f"by {'a title' if via.kind == 'title' else 'the file'}, linked with '{other.title or other.id}'"

    @cached_property
    def _shared_names(self) -> list[str]:
        names = list(self.names.vocabulary)
        return [names[column] for column in shared_terms(self.names)]

    # ------------------------------------------------------------------ on disk

    def fingerprint(self) -> dict[str, Any]:
        """What must agree for an index to fit: the corpus, the encoder, the settings."""
        return {
            "passages": len(self),
            "corpus": _corpus_hash(self.passages),
            "encoder": self.embedded_by,
            "dimension": None if self.vectors is None else int(self.vectors.shape[1]),
            "links": list(self.link_kinds),
            "vectors": self.searched_by,
            "collection": self.collection,
        }

    def save(self, folder: str | Path) -> None:
        """Written beside and moved into place: a folder is whole or not there."""
        folder = Path(folder)
        if folder.exists() and not (folder / "manifest.json").is_file():
            raise DataError(f"{folder}: there is something else at this place already. Choose another folder.")
        beside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        try:
            self._write(beside)
            old = folder.with_name(f"{folder.name}.{os.getpid()}.old")
            if folder.exists():
                os.replace(folder, old)
            os.replace(beside, folder)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise DataError(f"{folder}: the index cannot be written: {error.strerror or error}.") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        _write_passages(folder, self.passages)
        self.terms.save(folder / "terms")
        self.bm25.save(folder / "bm25")
        if "phrase" in self.link_kinds:
            self.names.save(folder / "names")
        np.save(folder / "keys.npy", self.keys)
        np.save(folder / "links.npy", self.links.ends)
        np.save(folder / "link_kinds.npy", self.links.kinds)
        if self.vectors is not None:
            np.save(folder / "vectors.npy", self.vectors)
            if isinstance(store := self.store, FaissVectors):
                store.save(folder / "faiss.index")
        stamp = {"format": FORMAT, "fingerprint": self.fingerprint()}
        write_atomically(folder / "manifest.json", json.dumps(stamp, indent=2) + "\n")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        encoder: Encoder | None = None,
        passages: Sequence[ContextNode] | None = None,
        links: Sequence[LinkKind] | None = None,
    ) -> PassageIndex:
        """An index from its folder, memory-mapped: what is not searched is not read.

        Args:
            encoder: of the queries; must be the one that embedded the passages. None leaves out the dense methods.
            passages: what the index must have been made of; None takes its own.
            links: the kinds of edges that it must have; None takes its own.

        Raises:
            DataError: no index there, another format, or one that was made of something else; says what differs.
        """
        folder = Path(folder)
        written = stamp_of(folder)
        index = object.__new__(cls)
        index.encoder, index.link_kinds, index.embedded_by = encoder, tuple(written["links"]), written["encoder"]
        index.passages = PassageFile(folder)
        index.keys = np.load(folder / "keys.npy")
        index.terms = TermCounts.load(folder / "terms")
        index.names = TermCounts.load(folder / "names") if "phrase" in index.link_kinds else TermCounts()
        index.links = Links(
            np.load(folder / "links.npy", mmap_mode="r"), np.load(folder / "link_kinds.npy", mmap_mode="r")
        )
        index.searched_by, index.collection, index._store = written["vectors"], written["collection"], None
        index.vectors = None
        if (folder / "vectors.npy").is_file():
            index.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        if (folder / "faiss.index").is_file():
            index._store = FaissVectors.load(folder / "faiss.index")
        index.__dict__["bm25"] = Bm25Retriever.load(folder / "bm25", index.terms)
        wanted: dict[str, Any] = {}
        if passages is not None:
            wanted |= {"passages": len(passages), "corpus": _corpus_hash(passages)}
        if encoder is not None:
            wanted["encoder"] = _encoder_identity(encoder)
        if links is not None:
            wanted["links"] = list(links)
        differing = [
            f"{name} is {written[name]}, wanted {value}" for name, value in wanted.items() if written[name] != value
        ]
        if differing:
            raise DataError(
                f"{folder}: this index does not fit: {'; '.join(differing)}. Build it again: rag-graph index"
            )
        return index


def stamp_of(folder: Path) -> dict[str, Any]:
    """The fingerprint that an index folder was stamped with.

    Raises:
        DataError: there is none, or it is of another format.
    """
    path = folder / "manifest.json"
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
        found, fingerprint = stamp["format"], stamp["fingerprint"]
    except FileNotFoundError:
        raise DataError(f"{folder}: no index is there. Make one: rag-graph index PASSAGES --out {folder}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error}. Build the index again.") from None
    if found != FORMAT:
        raise DataError(f"{folder}: an index of format {found}; this version reads {FORMAT}. Build it again.")
    return dict(fingerprint)


class PassageFile(Sequence[ContextNode]):
    """Passages of an index folder, read from a memory-mapped file when asked for."""

    def __init__(self, folder: Path) -> None:
        self._offsets: NDArray[np.int64] = np.load(folder / "offsets.npy", mmap_mode="r")
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


def _write_passages(folder: Path, passages: Sequence[ContextNode]) -> None:
    offsets = [0]
    with (folder / "passages.jsonl").open("wb") as handle:
        for node in passages:
            offsets.append(offsets[-1] + handle.write(to_json(asdict(node)).encode() + b"\n"))
    np.save(folder / "offsets.npy", np.array(offsets, np.int64))


def _corpus_hash(passages: Sequence[ContextNode]) -> str:
    digest = hashlib.sha256()
    for node in passages:
        digest.update(repr((node.id, node.title, node.text, node.links)).encode())
    return digest.hexdigest()[:16]


def _encoder_identity(encoder: Encoder | None) -> str | None:
    return None if encoder is None else f"{encoder.name} {encoder.fingerprint()}"


def _embed(encoder: Encoder | None, passages: Sequence[ContextNode], progress: bool = False) -> Vectors | None:
    return None if encoder is None else encoder.encode([passage_text(node) for node in passages], progress)


def _check_ids(passages: Sequence[ContextNode]) -> None:
    seen: set[str] = set()
    for node in passages:
        if node.id in seen:
            raise DataError(f"two passages have the id '{node.id}'. Ids are unique; delete the old one first.")
        seen.add(node.id)
