"""What an index is made of: passages with their words, names, links and embeddings. It grows and shrinks; nothing is searched here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rag_graph.data.passages import check_links
from rag_graph.errors import DataError, near_miss
from rag_graph.records import ContextNode
from rag_graph.retrieval.base import check_pool
from rag_graph.retrieval.bm25 import Bm25Retriever
from rag_graph.retrieval.encoder import Encoder
from rag_graph.retrieval.kept_embeddings import embed_once
from rag_graph.retrieval.links import KINDS, Links, names_in, shared_terms, stated_links, title_links
from rag_graph.retrieval.stems import Stems, spread
from rag_graph.retrieval.terms import TermCounts
from rag_graph.retrieval.vectors import Keys, Vectors
from rag_graph.retrieval_methods import AUTO, LinkKind


def passage_text(node: ContextNode) -> str:
    """What an encoder embeds: title and text; the title once."""
    if not node.title or re.search(rf"(?<!\w){re.escape(node.title)}(?!\w)", node.text):
        return node.text
    return f"{node.title}. {node.text}"


def searched_words(node: ContextNode) -> str:
    """What BM25 counts: the title, and the text, which often repeats it."""
    return f"{node.title} {node.text}" if node.title else node.text


@dataclass(frozen=True)
class Parts:
    """Never changed, only replaced: what was made of the old parts stays valid for them.

    link_kinds: which kinds of links are looked for.
    stems: what the terms are.
    keys: ascending numbers of the passages in `vectors` and its store; a number is never used again.
    terms, names: counts of stems and, for phrase links, of capitalised names.
    vectors: float32 [passages, dimension], None without an encoder.
    written_bm25, written_corpus: `bm25` and `corpus` as a folder holds them; None where they are still to be computed.
    """

    link_kinds: tuple[LinkKind, ...]
    stems: Stems
    passages: Sequence[ContextNode]
    keys: Keys
    next_key: int
    terms: TermCounts
    names: TermCounts
    links: Links
    vectors: Vectors | None
    written_bm25: Bm25Retriever | None = None
    written_corpus: str | None = None

    @classmethod
    def of(
        cls,
        passages: Sequence[ContextNode],
        encoder: Encoder | None,
        link_kinds: Sequence[LinkKind],
        language: str = AUTO,
        keep: bool = False,
        progress: bool = False,
    ) -> Parts:
        """
        Args:
            language: of the stemmer; see `Stems.of`.
            keep: embeddings are kept in the cache folder, and taken from there.

        Raises:
            DataError: no passage, or an id that two passages have.
            ConfigError: there is no stemmer of this language.
        """
        check_pool(len(passages))
        _check_ids(passages)
        vectors = None if encoder is None else np.empty((0, 0), np.float32)
        nothing = Links.joined([Links.of((), "link")])
        stems = Stems.of(language, [searched_words(node) for node in spread(passages)])
        empty = cls(tuple(link_kinds), stems, (), np.arange(0), 0, TermCounts(), TermCounts(), nothing, vectors)
        return empty._extended(passages, encoder, keep, progress)

    def __len__(self) -> int:
        return len(self.keys)

    # ------------------------------------------------------------------ changes

    def grown(self, new: Sequence[ContextNode], encoder: Encoder | None) -> Parts:
        """With passages appended: only they are tokenised, embedded and looked through for links. The result equals parts that were
        made of all passages, up to the last decimals of embeddings.

        Raises:
            DataError: an id that is there already; a link to a passage that is nowhere.
        """
        known = {node.id for node in self.passages}
        for node in new:
            if node.id in known:
                raise DataError(
                    f"the index has a passage with the id '{node.id}' already. Ids are unique: delete the old one, or name the new one otherwise."
                )
        _check_ids(new)
        known |= {node.id for node in new}
        for node in new:
            check_links(node, known, f"passage '{node.id}'")
        return self._extended(new, encoder)

    def _extended(
        self, new: Sequence[ContextNode], encoder: Encoder | None, keep: bool = False, progress: bool = False
    ) -> Parts:
        count = len(self)
        passages = [*self.passages, *new]
        terms = self.terms.with_passages(self.stems.lists(map(searched_words, new)))
        vectors = self.vectors
        if vectors is not None and encoder is not None:
            texts = [passage_text(node) for node in new]
            added = embed_once(texts, encoder, progress) if keep else encoder.encode(texts, progress)
            vectors = np.concatenate([vectors, added]) if count else added
        found = [self.links]
        if "link" in self.link_kinds:
            found.append(stated_links(passages))
        if "title" in self.link_kinds:
            found.append(title_links(passages, terms, self.stems, count))
        return Parts(
            self.link_kinds,
            self.stems,
            passages,
            np.concatenate([self.keys, np.arange(self.next_key, self.next_key + len(new))]),
            self.next_key + len(new),
            terms,
            self.names.with_passages(map(names_in, new)) if self.has_phrases else self.names,
            Links.joined(found),
            vectors,
        )

    def without(self, ids: Collection[str]) -> Parts:
        """With passages taken out by id.

        Raises:
            DataError: an id that is not there; nothing would be left.
        """
        position = {node.id: place for place, node in enumerate(self.passages)}
        for name in ids:
            if name not in position:
                raise DataError(f"no passage has the id '{name}'.{near_miss(name, position)} Nothing was deleted.")
        gone = {position[name] for name in ids}
        rows = np.array([place for place in range(len(self)) if place not in gone], np.int64)
        check_pool(len(rows))
        return Parts(
            self.link_kinds,
            self.stems,
            [self.passages[place] for place in rows],
            self.keys[rows],
            self.next_key,
            self.terms.with_rows(rows),
            self.names.with_rows(rows) if self.has_phrases else self.names,
            self.links.keep(rows, len(self)),
            None if self.vectors is None else self.vectors[rows],
        )

    def with_links(self, kinds: Sequence[LinkKind]) -> Parts:
        """With some of the kinds of links only.

        Raises:
            DataError: a kind that was not looked for.
        """
        for kind in kinds:
            if kind not in self.link_kinds:
                raise DataError(f"the index has no links of the kind '{kind}'; it has: {', '.join(self.link_kinds)}.")
        kept = np.isin(self.links.kinds, [KINDS.index(kind) for kind in kinds])
        names = self.names if "phrase" in kinds else TermCounts()
        return replace(
            self, link_kinds=tuple(kinds), names=names, links=Links(self.links.ends[kept], self.links.kinds[kept])
        )

    # ------------------------------------------------------------------ what follows from them

    @property
    def has_phrases(self) -> bool:
        return "phrase" in self.link_kinds

    @cached_property
    def bm25(self) -> Bm25Retriever:
        return self.written_bm25 or Bm25Retriever(terms=(self.terms, self.stems))

    @cached_property
    def corpus(self) -> str:
        return self.written_corpus or corpus_hash(self.passages)

    @cached_property
    def shared_names(self) -> list[str]:
        """The names that make phrase links, in the order of their nodes in the context graph."""
        names = list(self.names.vocabulary)
        return [names[column] for column in shared_terms(self.names)]


def corpus_hash(passages: Sequence[ContextNode]) -> str:
    """16 hex digits over ids, titles, texts and links, in order."""
    digest = hashlib.sha256()
    for node in passages:
        digest.update(repr((node.id, node.title, node.text, node.links)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def _check_ids(passages: Sequence[ContextNode]) -> None:
    seen: set[str] = set()
    for node in passages:
        if node.id in seen:
            raise DataError(f"two passages have the id '{node.id}'. Ids are unique.")
        seen.add(node.id)
