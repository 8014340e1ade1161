"""A pool of passages that any method searches. It is saved as a folder, memory-mapped, and grows and shrinks without a rebuild."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag_graph.display import count, one_line
from rag_graph.errors import ConfigError, DataError, check_no_secret
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import Retriever, Via
from rag_graph.retrieval.bm25 import Bm25Retriever
from rag_graph.retrieval.dense import DenseRetriever
from rag_graph.retrieval.encoder import Encoder
from rag_graph.retrieval.fusion import FusedRetriever, WeightedRetriever
from rag_graph.retrieval.index_folder import IndexFolder
from rag_graph.retrieval.index_parts import Parts, corpus_hash
from rag_graph.retrieval.links import Links, phrase_edges
from rag_graph.retrieval.milvus import (
    MilvusVectors,
    check_server,
    collection_name,
    collection_of,
    drop_collection,
    is_file,
    is_milvus,
    is_server,
    name_in_folder,
)
from rag_graph.retrieval.opened_index import Opened
from rag_graph.retrieval.vectors import ExactVectors, FaissVectors, VectorStore
from rag_graph.retrieval.walk import ContextGraph, WalkRetriever
from rag_graph.retrieval_methods import AUTO, DENSE_METHODS, WALK_METHODS, LinkKind, is_vector_store


class PassageIndex:
    """
    Args:
        passages: the pool, ids unique.
        encoder: of passages and queries; None leaves out the dense methods.
        links: which edges the context graph has: "link" (stated in the file), "title" (a text names a title), "phrase" (two passages
            share a capitalised name).
        vectors: where embeddings are searched: "exact", "faiss", or the URI of a Milvus (see `MilvusVectors`). A saved index has its file of
            milvus-lite in its own folder, under the same name.
        language: whose stemmer BM25 uses for passages and queries: a name or ISO 639-1 code, "none", or "auto", the language of most
            passages. It is settled here: passages that are added later do not change it.
        keep: embeddings are kept in the cache folder, and taken from there.

    Raises:
        DataError: no passage, or an id that stands there twice.
        ConfigError: `vectors` names no place, or there is no encoder to fill it; there is no stemmer of this language.
        ModelError: no Milvus answers at this address.
    """

    def __init__(
        self,
        passages: Sequence[ContextNode],
        encoder: Encoder | None = None,
        links: Sequence[LinkKind] = ("link", "title"),
        vectors: str = "exact",
        progress: bool = False,
        language: str = AUTO,
        keep: bool = False,
    ) -> None:
        try:
            check_no_secret(vectors)
        except ValueError as error:
            raise ConfigError(f"vectors: {error}") from None
        if not is_vector_store(vectors):
            raise ConfigError(f"vectors '{vectors}': exact, faiss, a file ending in .db, or the address of a Milvus.")
        if encoder is None and vectors != "exact":
            raise ConfigError(f"vectors '{vectors}' searches embeddings: name an encoder to make them.")
        if is_server(vectors):
            check_server(vectors)
        embedded_by = None if encoder is None else f"{encoder.name} {encoder.fingerprint()}"
        self._begin(
            Parts.of(passages, encoder, links, language, keep, progress),
            encoder,
            embedded_by,
            str(Path(vectors).resolve()) if is_file(vectors) else vectors,
        )

    def _begin(
        self,
        parts: Parts,
        encoder: Encoder | None,
        embedded_by: str | None,
        searched_by: str,
        index_id: str | None = None,
        folder: IndexFolder | None = None,
        opened: Opened | None = None,
    ) -> None:
        """Sets every attribute, of an index that is made and of one that is read.

        Args:
            embedded_by: name and fingerprint of the encoder that made the vectors.
            searched_by: where they are searched.
        """
        self.parts = parts
        self.encoder, self.embedded_by, self.searched_by = encoder, embedded_by, searched_by
        self.id = index_id or uuid.uuid4().hex
        self._folder, self._opened = folder, opened
        self._store: FaissVectors | MilvusVectors | None = None

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        encoder = f"encoder {self.embedded_by.rsplit(' ', 1)[0]}" if self.embedded_by else "no encoder"
        return one_line("PassageIndex", count(len(self), "passage"), count(len(self.links.ends), "link"), encoder)

    @property
    def passages(self) -> Sequence[ContextNode]:
        return self.parts.passages

    @property
    def links(self) -> Links:
        return self.parts.links

    # ------------------------------------------------------------------ changes

    def add(self, passages: Sequence[ContextNode]) -> None:
        """Append passages: only they are tokenised, embedded and looked through for links. The index then equals one that was made of
        all, up to the last decimals of embeddings. Nothing is changed where it fails.

        Raises:
            DataError: an id that is there already; a link to a passage that is nowhere.
            ConfigError: the index has embeddings and was opened without its encoder.
        """
        if not passages:
            return
        if self.encoder is None and self.parts.vectors is not None:
            raise ConfigError(
                f"this index has embeddings by {self.embedded_by}: open it with that encoder to add to it."
            )
        parts = self.parts.grown(passages, self.encoder)
        self._change_store(parts, added=len(passages))
        self.parts, self._opened = parts, None

    def delete(self, ids: Sequence[str]) -> None:
        """Take passages out by id.

        Raises:
            DataError: an id that is not there; nothing would be left.
        """
        parts = self.parts.without(ids)
        self._change_store(parts)
        self.parts, self._opened = parts, None

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

    # ------------------------------------------------------------------ searching

    @property
    def bm25(self) -> Bm25Retriever:
        return self.parts.bm25

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
                filled = self._milvus(vectors.shape[1])
                filled.fill(vectors, keys)
                self._store = filled
            else:
                kept = self._opened.faiss() if self._opened is not None else None
                self._store = kept or FaissVectors(vectors, keys)
        return self._store

    def _milvus(self, dimension: int) -> MilvusVectors:
        """The collection of this index in Milvus: of a folder its own, also when the folder is copied; in memory that of its content."""
        folder = self._folder
        if folder is not None and not folder.is_current():
            raise DataError(f"{folder.path}: another has changed this index since it was opened. Open it again.")
        if folder is not None:
            return collection_of(folder.path, self.searched_by, self.id, dimension)
        name = collection_name(f"{self.parts.corpus}/{self.embedded_by}")
        return MilvusVectors(self.searched_by, name, dimension)

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
        phrases = phrase_edges(self.parts.names) if self.parts.has_phrases else None
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

    def with_links(self, kinds: Sequence[LinkKind]) -> PassageIndex:
        """The same passages with some of the kinds of links only, to see what the others bring. It shares its vectors with this index:
        search it, but do not change it.

        Raises:
            DataError: a kind that was not looked for when this index was made.
        """
        index = object.__new__(PassageIndex)
        parts = self.parts.with_links(kinds)
        index._begin(parts, self.encoder, self.embedded_by, self.searched_by, self.id, self._folder, self._opened)
        return index

    def describe(self, via: Via | None, task: str = "the task") -> str:
        """The edge that a walk came by, in words."""
        if via is None:
            return ""
        if via.kind == "grounds":
            return f"by what grounds {task}"
        if via.kind == "phrase":
            return f"by a shared name, '{self.parts.shared_names[via.node - len(self)]}'"
        other = self.passages[via.node]
        return f"by {'a title' if via.kind == 'title' else 'the file'}, linked with '{other.title or other.id}'"

    # ------------------------------------------------------------------ on disk

    def fingerprint(self) -> dict[str, Any]:
        """What must agree for an index to fit: the corpus, the encoder, the settings."""
        vectors = self.parts.vectors
        return {
            "passages": len(self),
            "corpus": self.parts.corpus,
            "encoder": self.embedded_by,
            "dimension": None if vectors is None else int(vectors.shape[1]),
            "links": list(self.parts.link_kinds),
            "language": self.parts.stems.language,
            "vectors": name_in_folder(self.searched_by),
        }

    def save(self, folder: str | Path) -> None:
        """A reader of the folder gets the old index or the new one, whole.

        Raises:
            DataError: something else is at this place; another has changed the folder since this index was opened from it, or is writing it; it
                cannot be written.
            ModelError: Milvus cannot be used.
        """
        target = IndexFolder(folder)
        if self._folder is not None and self._folder.path == target.path:
            target = self._folder
        elif isinstance(self._store, MilvusVectors):
            self._store.drop()  # a folder has a collection of its own
            self._store = None
        faiss = self.store if self.searched_by == "faiss" and self.parts.vectors is not None else None
        faiss = faiss if isinstance(faiss, FaissVectors) else None
        replaced = target.write(self.parts, faiss, self.id, self.fingerprint())
        self._folder, self.searched_by = target, name_in_folder(self.searched_by)
        if replaced is not None and replaced.id != self.id:
            old = replaced.fingerprint
            drop_collection(target.path, replaced.id, old.vectors, old.dimension)
        if is_milvus(self.searched_by):
            self.store  # noqa: B018 - its vectors go there now

    @classmethod
    def load(
        cls,
        folder: str | Path | Opened,
        encoder: Encoder | None = None,
        passages: Sequence[ContextNode] | None = None,
        links: Sequence[LinkKind] | None = None,
    ) -> PassageIndex:
        """An index from its folder, memory-mapped. Every file is hashed once.

        Args:
            folder: or what `IndexFolder.open` gave.
            encoder: of the queries; must be the one that embedded the passages. None leaves out the dense methods.
            passages: what the index must have been made of; None takes its own.
            links: the kinds of edges that it must have; None takes its own.

        Raises:
            DataError: no index there, a damaged one, another format, or one that was made of something else; says what differs.
        """
        opened = folder if isinstance(folder, Opened) else IndexFolder(folder).open()
        place, written = IndexFolder(opened.folder, opened.text), opened.manifest.fingerprint.model_dump()
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
                f"{place.path}: this index does not fit: {'; '.join(differing)}. Build it again: rag-graph index {place.path} --passages FILE"
            )
        index = object.__new__(cls)
        encoder = encoder if written["encoder"] is not None else None
        made_by, searched_by = written["encoder"], written["vectors"]
        index._begin(opened.parts(), encoder, made_by, searched_by, opened.manifest.id, place, opened)
        return index
