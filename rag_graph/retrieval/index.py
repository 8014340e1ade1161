"""A pool of passages, ready to be searched by any method; it can be saved, memory-mapped, and grow and shrink without being rebuilt."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rag_graph.config import DENSE_METHODS, LinkKind, is_vector_store
from rag_graph.data.passages import check_links
from rag_graph.errors import ConfigError, DataError, near_miss
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Retriever, Via, check_pool
from rag_graph.retrieval.bm25 import Bm25Retriever, word_lists
from rag_graph.retrieval.dense import DenseRetriever
from rag_graph.retrieval.encoder import Encoder
from rag_graph.retrieval.fusion import FusedRetriever, WeightedRetriever
from rag_graph.retrieval.index_folder import IndexFolder, Stamp, corpus_hash
from rag_graph.retrieval.links import Links, names_in, phrase_edges, shared_terms, stated_links, title_links
from rag_graph.retrieval.terms import TermCounts
from rag_graph.retrieval.vectors import ExactVectors, FaissVectors, Keys, MilvusVectors, Vectors, VectorStore
from rag_graph.retrieval.walk import ContextGraph, WalkRetriever

WALK_METHODS = ("walk", "hybrid_walk")


def passage_text(node: ContextNode) -> str:
    """What is searched: title and text; the title once."""
    if not node.title or re.search(rf"(?<!\w){re.escape(node.title)}(?!\w)", node.text):
        return node.text
    return f"{node.title}. {node.text}"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an index is made of. Never changed, only replaced: what was made of the old parts stays valid for them.

    keys: ascending numbers of the passages in `vectors` and its store; a number is never used again.
    terms, names: counts of words and, for phrase links, of capitalised names.
    vectors: float32 [passages, dimension], None without an encoder.
    """

    passages: Sequence[ContextNode]
    keys: Keys
    next_key: int
    terms: TermCounts
    names: TermCounts
    links: Links
    vectors: Vectors | None


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
        ConfigError: `vectors` names no place, or there is no encoder to fill it.
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
        _check_ids(passages)
        if not is_vector_store(vectors):
            raise ConfigError(f"vectors '{vectors}': exact, faiss, a file ending in .db, or the address of a Milvus.")
        if encoder is None and vectors != "exact":
            raise ConfigError(f"vectors '{vectors}' searches embeddings: name an encoder to make them.")
        self.encoder, self.link_kinds = encoder, tuple(links)
        self.embedded_by = _identity(encoder)
        is_file = _is_milvus(vectors) and "://" not in vectors
        self.searched_by = str(Path(vectors).resolve()) if is_file else vectors
        self.id = uuid.uuid4().hex
        self._folder: IndexFolder | None = None
        self._store: FaissVectors | MilvusVectors | None = None
        nothing = Links.joined([Links.of((), "link")])
        empty = np.empty((0, 0), np.float32) if encoder is not None else None
        start = Parts((), np.arange(0), 0, TermCounts(), TermCounts(), nothing, empty)
        self.parts = self._with(start, list(passages), progress)

    def __len__(self) -> int:
        return len(self.parts.keys)

    @property
    def passages(self) -> Sequence[ContextNode]:
        return self.parts.passages

    @property
    def links(self) -> Links:
        return self.parts.links

    def _with(self, parts: Parts, new: Sequence[ContextNode], progress: bool = False) -> Parts:
        """Parts of an index to which passages were appended."""
        count = len(parts.keys)
        passages = [*parts.passages, *new]
        keys = np.concatenate([parts.keys, np.arange(parts.next_key, parts.next_key + len(new))])
        terms = parts.terms.with_passages(word_lists([passage_text(node) for node in new]))
        names = parts.names.with_passages(map(names_in, new)) if "phrase" in self.link_kinds else parts.names
        vectors = parts.vectors
        if vectors is not None and self.encoder is not None:
            added = self.encoder.encode([passage_text(node) for node in new], progress)
            vectors = np.concatenate([vectors, added]) if count else added
        found = [parts.links]
        if "link" in self.link_kinds:
            found.append(stated_links(passages))
        if "title" in self.link_kinds:
            found.append(title_links(passages, terms, count))
        return Parts(passages, keys, parts.next_key + len(new), terms, names, Links.joined(found), vectors)

    # ------------------------------------------------------------------ changes

    def add(self, passages: Sequence[ContextNode]) -> None:
        """Append passages: only they are tokenised, embedded and looked through for links. The index then equals one that was made of
        all, up to the last decimals of embeddings. Nothing is changed where it fails.

        Raises:
            DataError: an id that is there already; a link to a passage that is nowhere.
        """
        if not passages:
            return
        known = {node.id for node in self.passages}
        for node in passages:
            if node.id in known:
                raise DataError(
                    f"the index has a passage with the id '{node.id}' already. Ids are unique: delete the old one, or name the new one otherwise."
                )
        _check_ids(passages)
        known |= {node.id for node in passages}
        for node in passages:
            check_links(node, known, f"passage '{node.id}'")
        if self.encoder is None and self.parts.vectors is not None:
            raise ConfigError(
                f"this index has embeddings by {self.embedded_by}: open it with that encoder to add to it."
            )
        parts = self._with(self.parts, passages)
        self._change_store(parts, added=len(passages))
        self._replace(parts)

    def delete(self, ids: Sequence[str]) -> None:
        """Take passages out by id.

        Raises:
            DataError: an id that is not there; nothing would be left.
        """
        old = self.parts
        position = {node.id: place for place, node in enumerate(old.passages)}
        for name in ids:
            if name not in position:
                raise DataError(f"no passage has the id '{name}'.{near_miss(name, position)} Nothing was deleted.")
        gone = {position[name] for name in ids}
        rows = np.array([place for place in range(len(self)) if place not in gone], np.int64)
        check_pool(len(rows))
        parts = replace(
            old,
            passages=[old.passages[place] for place in rows],
            keys=old.keys[rows],
            terms=old.terms.with_rows(rows),
            names=old.names.with_rows(rows) if "phrase" in self.link_kinds else old.names,
            links=old.links.keep(rows, len(self)),
            vectors=None if old.vectors is None else old.vectors[rows],
        )
        self._change_store(parts)
        self._replace(parts)

    def _change_store(self, parts: Parts, added: int = 0) -> None:
        """Bring faiss or Milvus from the parts there are to new ones. Where that fails it is opened, and mended, anew."""
        if self.searched_by == "exact" or parts.vectors is None:
            return
        store = self.store
        try:
            store.delete(np.setdiff1d(self.parts.keys, parts.keys))
            if added:
                store.add(parts.vectors[-added:], parts.keys[-added:])
        except BaseException:
            self._store = None
            raise

    def _replace(self, parts: Parts) -> None:
        self.parts = parts
        for name in ("bm25", "_shared_names", "_corpus"):
            self.__dict__.pop(name, None)

    # ------------------------------------------------------------------ searching

    @cached_property
    def bm25(self) -> Bm25Retriever:
        return Bm25Retriever(terms=self.parts.terms)

    @property
    def store(self) -> VectorStore:
        """Where embeddings are searched; opened, or made, when it is first asked for."""
        vectors, keys = self.parts.vectors, self.parts.keys
        if vectors is None:
            raise ConfigError(
                "this index was made without an encoder: it has no embeddings. Index with --encoder NAME."
            )
        if self.searched_by == "exact":
            return ExactVectors(vectors, keys)
        if self._store is None:
            if self.searched_by != "faiss":
                self._store = MilvusVectors(self.searched_by, self._collection(), vectors.shape[1])
                self._store.fill(vectors, keys)
            else:
                kept = None if self._folder is None else self._folder.faiss(keys)
                self._store = kept or FaissVectors(vectors, keys)
        return self._store

    def _collection(self) -> str:
        """The collection of this index in Milvus: of a folder its own, also when the folder is copied; in memory that of its content."""
        about = f"{self._corpus}/{self.embedded_by}" if self._folder is None else f"{self.id}/{self._folder.path}"
        return _collection_name(about)

    def dense(self, encoder: Encoder | None = None) -> DenseRetriever:
        """
        Args:
            encoder: of the queries, default the index's own.
        """
        encoder, vectors = encoder or self.encoder, self.parts.vectors
        if vectors is None or encoder is None:
            raise ConfigError(
                f"the dense methods need {'an encoder' if self.embedded_by else 'an index made with --encoder NAME'}."
            )
        return DenseRetriever((), encoder, self.store, self.parts.keys)

    def graph(self, grounds: Sequence[float] | None = None, damping: float = 0.5) -> ContextGraph:
        """The context graph; with `grounds`, a node for the task and an edge of this strength from each passage to it."""
        phrases = phrase_edges(self.parts.names) if "phrase" in self.link_kinds else None
        return ContextGraph(len(self), self.parts.links, phrases, grounds, damping)

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
        names = list(self.parts.names.vocabulary)
        return [names[column] for column in shared_terms(self.parts.names)]

    # ------------------------------------------------------------------ on disk

    @cached_property
    def _corpus(self) -> str:
        return corpus_hash(self.parts.passages)

    def fingerprint(self) -> dict[str, Any]:
        """What must agree for an index to fit: the corpus, the encoder, the settings."""
        vectors = self.parts.vectors
        return {
            "passages": len(self),
            "corpus": self._corpus,
            "encoder": self.embedded_by,
            "dimension": None if vectors is None else int(vectors.shape[1]),
            "links": list(self.link_kinds),
            "vectors": self.searched_by,
        }

    def save(self, folder: str | Path) -> None:
        """Written beside and moved into place: the folder holds the old index or the new one, whole.

        Raises:
            DataError: something else is at this place; another has changed the folder since this index was opened from it; it cannot
                be written.
        """
        target = IndexFolder(folder)
        stays = self._folder is not None and self._folder.path == target.path
        if stays and self._folder is not None:
            target = self._folder
        elif isinstance(self._store, MilvusVectors):
            self._store.drop()  # a folder has a collection of its own
            self._store = None
        faiss = self.store if self.searched_by == "faiss" and self.parts.vectors is not None else None
        stamp = Stamp(self.id, self.parts.next_key, self.fingerprint())
        replaced = target.write(self.parts, self.bm25, faiss if isinstance(faiss, FaissVectors) else None, stamp)
        self._folder = target
        if replaced is not None and replaced.id != self.id and _is_milvus(replaced.fingerprint["vectors"]):
            name = _collection_name(f"{replaced.id}/{target.path}")
            MilvusVectors(replaced.fingerprint["vectors"], name, replaced.fingerprint["dimension"]).drop()

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
            DataError: no index there, a damaged one, another format, or one that was made of something else; says what differs.
        """
        place = IndexFolder(folder)
        stamp = place.stamp()
        written = stamp.fingerprint
        wanted: dict[str, tuple[Any, bool]] = {}
        if passages is not None:
            wanted["passages"] = len(passages), len(passages) == written["passages"]
            corpus = corpus_hash(passages)
            wanted["corpus"] = corpus, corpus == written["corpus"]
        if encoder is not None and written["encoder"] is not None:
            mine = encoder.fingerprint()
            wanted["encoder"] = f"{encoder.name} {mine}", written["encoder"].endswith(mine)
        if links is not None:
            wanted["links"] = list(links), sorted(links) == sorted(written["links"])
        differing = [f"{name} is {written[name]}, wanted {value}" for name, (value, fits) in wanted.items() if not fits]
        if differing:
            raise DataError(
                f"{folder}: this index does not fit: {'; '.join(differing)}. Build it again: rag-graph index {folder} --passages FILE"
            )
        index = object.__new__(cls)
        index.encoder = encoder if written["encoder"] is not None else None
        index.link_kinds, index.embedded_by = tuple(written["links"]), written["encoder"]
        index.searched_by, index.id, index._folder, index._store = written["vectors"], stamp.id, place, None
        passages_of, keys, terms, names, found, vectors, bm25 = place.read(stamp)
        index.parts = Parts(passages_of, keys, stamp.next_key, terms, names, found, vectors)
        index.__dict__ |= {"bm25": bm25, "_corpus": written["corpus"]}
        return index


def _is_milvus(vectors: str) -> bool:
    return vectors not in ("exact", "faiss")


def _collection_name(about: str) -> str:
    return f"rag_graph_{hashlib.sha256(about.encode()).hexdigest()[:16]}"


def _identity(encoder: Encoder | None) -> str | None:
    return None if encoder is None else f"{encoder.name} {encoder.fingerprint()}"


def _check_ids(passages: Sequence[ContextNode]) -> None:
    seen: set[str] = set()
    for node in passages:
        if node.id in seen:
            raise DataError(f"two passages have the id '{node.id}'. Ids are unique.")
        seen.add(node.id)
