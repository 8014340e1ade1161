"""Edges between passages: a text contains the title of another, two share a name, or the file links them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial, reduce
from itertools import chain
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from rag_graph.records import ContextNode
from rag_graph.retrieval.stems import Stems
from rag_graph.retrieval.terms import TermCounts
from rag_graph.words import folded, written_words

PARENTHESIS = re.compile(r"\([^()]*\)\s*$")
NAME = regex.compile(r"\p{Lu}[\w'’-]*(?:\s+(?:(?:of|the|and|de|la|von|van|in|for)\s+)?\p{Lu}[\w'’-]*)*")
SHORTEST = 4
"""The least number of letters of a title, or a name, of one word."""
COMMONEST = 30
"""A name that more passages share is ignored."""


class Links(NamedTuple):
    """Undirected edges, each once, and their kinds."""

    ends: NDArray[np.int64]  # [E, 2], smaller position first
    kinds: NDArray[np.int8]  # [E] index into KINDS

    @classmethod
    def of(cls, edges: Iterable[tuple[int, int]], kind: str) -> Links:
        ends = np.fromiter((end for edge in edges for end in edge), np.int64).reshape(-1, 2)
        ends = np.unique(np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1), axis=0)
        return cls(ends, np.full(len(ends), KINDS.index(kind), np.int8))

    @classmethod
    def joined(cls, parts: Sequence[Links]) -> Links:
        """In a fixed order, so links that were added later give the same result."""
        ends, kinds = np.concatenate([part.ends for part in parts]), np.concatenate([part.kinds for part in parts])
        table = np.unique(np.column_stack([kinds, ends]), axis=0)
        return cls(table[:, 1:], table[:, 0].astype(np.int8))

    def keep(self, rows: NDArray[np.int64], size: int) -> Links:
        """Only edges between remaining passages, with their new positions."""
        place = np.full(size, -1, np.int64)
        place[rows] = np.arange(len(rows))
        ends = place[self.ends]
        kept = (ends >= 0).all(1)
        return Links(ends[kept], self.kinds[kept])


KINDS = ("link", "title", "phrase", "grounds")


class Titles:
    """The titles to find in texts. A parenthesis at the end, such as "(film)", is not part of the title."""

    def __init__(self, titles: Iterable[tuple[int, str]]) -> None:
        self.words: dict[tuple[str, ...], list[int]] = {}
        for position, title in titles:
            words = title_words(title)
            if words:
                self.words.setdefault(words, []).append(position)
        self._lengths: dict[str, set[int]] = {}
        for words in self.words:
            self._lengths.setdefault(words[0], set()).add(len(words))

    def named_in(self, text: str) -> set[int]:
        """Positions whose title appears in the text, as whole words, not starting with a small letter."""
        written = written_words(text)
        words = [folded(word) for word in written]
        found: set[int] = set()
        for start, word in enumerate(words):
            for length in self._lengths.get(word, ()):
                positions = self.words.get(tuple(words[start : start + length]))
                if positions and not written[start][0].islower():
                    found.update(positions)
        return found


def title_words(title: str) -> tuple[str, ...]:
    """The words of a title that a text would use; none if they are too short."""
    words = tuple(map(folded, written_words(PARENTHESIS.sub("", title))))
    return () if len(words) == 1 and len(words[0]) < SHORTEST else words


def title_links(nodes: Sequence[ContextNode], terms: TermCounts, stems: Stems, new: int = 0) -> Links:
    """Passage a contains the title of passage b, word for word.

    Args:
        terms: counts of the stems of title and text together, as in BM25. They only say which old texts need to be read.
        stems: what made them.
        new: only links of passages from this position on; 0 means all.
    """
    fresh = Titles((position, node.title) for position, node in enumerate(nodes[new:], new))
    if not new:
        return Links.of(_named(nodes, range(len(nodes)), fresh), "title")
    everything = Titles((position, node.title) for position, node in enumerate(nodes))
    old = _hold_all_words(terms, map(stems.of_words, fresh.words))
    edges = chain(
        _named(nodes, range(new, len(nodes)), everything),
        _named(nodes, (position for position in old if position < new), fresh),
    )
    return Links.of(edges, "title")


def _named(nodes: Sequence[ContextNode], positions: Iterable[int], titles: Titles) -> Iterator[tuple[int, int]]:
    return ((position, other) for position in positions for other in titles.named_in(nodes[position].text))


def _hold_all_words(terms: TermCounts, titles: Iterable[Sequence[str]]) -> list[int]:
    """Passages that contain all stems of some title, by the counts, without reading texts."""
    postings = terms.table.tocsc()
    found: set[int] = set()
    for words in titles:
        columns = [terms.vocabulary[word] for word in words if word in terms.vocabulary]
        if len(columns) < len(words):
            # the counts are of pairs of characters in scripts without spaces: then every text is read
            return list(range(len(terms)))
        rows = [postings.indices[postings.indptr[column] : postings.indptr[column + 1]] for column in columns]
        found.update(reduce(partial(np.intersect1d, assume_unique=True), rows).tolist())
    return sorted(found)


def stated_links(nodes: Sequence[ContextNode]) -> Links:
    """The links that the file states."""
    position = {node.id: place for place, node in enumerate(nodes)}
    return Links.of(
        ((place, position[link]) for place, node in enumerate(nodes) for link in node.links if link in position), "link"
    )


def names_in(node: ContextNode) -> set[str]:
    """Names in a passage, in lower case: sequences of capitalised words, with small words such as "of" between them."""
    found = NAME.findall(f"{node.title}. {node.text}")
    return {" ".join(name.lower().split()) for name in found if " " in name or len(name) >= SHORTEST}


def shared_terms(names: TermCounts) -> NDArray[np.int64]:
    """The columns of names that 2 to 30 passages share."""
    frequency = names.frequencies()
    return np.flatnonzero((frequency >= 2) & (frequency <= COMMONEST))


def phrase_edges(names: TermCounts) -> tuple[NDArray[np.int64], int]:
    """(edges [E, 2] from a passage to a phrase node, number of phrase nodes). Phrase nodes are numbered after the passages, in the order
    of `shared_terms`."""
    shared = shared_terms(names)
    table = names.table[:, shared].tocoo()
    return np.column_stack([table.row, table.col + len(names)]).astype(np.int64), len(shared)
