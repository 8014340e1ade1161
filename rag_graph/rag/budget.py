"""How many tokens of evidence a prompt may hold: what fits whole, what is cut at the end of a sentence, what gives way to the next passage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from rag_graph.records import Evidence
from rag_graph.sentences import last_fitting, sentence_ends, word_ends
from rag_graph.words import count_words

CountTokens = Callable[[Sequence[str]], list[int]]
"""Texts -> the length of each, in tokens of the policy."""
By = Literal["sentence", "word"]
"""What a cut passage ends with."""
KEPT = 100_000
"""Lengths and cuts that are remembered."""
_CUT = "; cut to fit: "


def count_in_words(texts: Sequence[str]) -> list[int]:
    """Lengths in words, where no policy is there whose tokens could be counted."""
    return list(map(count_words, texts))


class EvidenceBudget:
    """What of ranked passages is shown in a prompt of `tokens` tokens of evidence.

    Args:
        tokens: of all evidence of one prompt, guidelines and line breaks between pieces among it.
        most: passages per prompt.
        count: how a text is measured.
        whole: contexts whose texts are shown whole or not at all: the answer of an exemplar stands at its end.
    """

    def __init__(
        self, tokens: int, most: int, count: CountTokens = count_in_words, whole: Collection[str] = ()
    ) -> None:
        self.tokens, self.most, self.whole = tokens, most, frozenset(whole)

        @lru_cache(KEPT)
        def length(text: str) -> int:
            return count([text])[0]

        @lru_cache(KEPT)
        def end(text: str, room: int, by: By) -> int:
            ends = sentence_ends(text) if by == "sentence" else word_ends(text)
            return last_fitting(ends, lambda end: count([text[:end]])[0] <= room)

        self.length, self._end = length, end

    def room_beside(self, pieces: Sequence[Evidence]) -> int:
        """Tokens that are left for one more piece beside these."""
        used = sum(self.length(piece.context.text) for piece in pieces)
        return self.tokens - used - len(pieces) * self.length("\n")

    def fill(self, pinned: Sequence[Evidence], wanted: Iterable[Evidence], apart: bool = False) -> list[Evidence]:
        """Of `wanted`, in this order, what has room beside `pinned`. A passage that is too long is cut at the end of a sentence; where not even its
        first sentence fits, the next passage has its place. If too few passages can be shown that way, those passed over are cut at the end of a
        word, as long as a quarter of the budget is left, or nothing else is shown.

        Args:
            wanted: is read until enough is chosen.
            apart: every passage is shown in a prompt of its own, beside `pinned`.
        """
        chosen: dict[int, Evidence] = {}
        seen: list[Evidence] = []
        passes: tuple[tuple[By, Iterable[Evidence]], ...] = (("sentence", _noted(wanted, seen)), ("word", seen))
        for by, pieces in passes:
            for place, piece in enumerate(pieces):
                if len(chosen) == self.most:
                    break
                room = self.room_beside(pinned if apart else [*pinned, *chosen.values()])
                if place in chosen or (by == "word" and chosen and 4 * room < self.tokens):
                    continue
                shown = self.fitted(piece, room, by)
                if shown is not None:
                    chosen[place] = shown
        return [chosen[place] for place in sorted(chosen)]

    def fitted(self, piece: Evidence, room: int, by: By) -> Evidence | None:
        """The piece, or its beginning, in `room` tokens; None where nothing of it fits."""
        text = piece.context.text
        if room <= 0:
            return None
        if self.length(text) <= room:
            return piece
        return None if piece.context.node in self.whole else beginning(piece, self._end(text, room, by))

    def shorter(self, piece: Evidence, fits: Callable[[Evidence], bool], by_words: bool) -> Evidence | None:
        """The longest beginning of a piece that fits, at the end of a sentence; `by_words`: else at the end of a word."""
        if piece.context.node in self.whole:
            return None
        text = piece.context.text
        for ends in (sentence_ends(text), word_ends(text))[: 2 if by_words else 1]:
            end = last_fitting(ends, lambda end: fits(beginning(piece, end) or piece))
            if end:
                return beginning(piece, end)
        return None


def _noted(pieces: Iterable[Evidence], seen: list[Evidence]) -> Iterator[Evidence]:
    for piece in pieces:
        seen.append(piece)
        yield piece


def beginning(piece: Evidence, end: int) -> Evidence | None:
    """The first `end` characters of a piece; None where there are none."""
    text = piece.context.text
    if end <= 0:
        return None
    left_out = piece.left_out + len(text) - end
    reason = (
        f"{piece.reason.partition(_CUT)[0]}{_CUT}the first {end:,} of {end + left_out:,} characters"
        if left_out
        else piece.reason
    )
    return replace(piece, context=replace(piece.context, text=text[:end]), left_out=left_out, reason=reason)
