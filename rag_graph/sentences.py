"""Where a text can be cut, in any script: after a sentence, else after a word. What is too long for a model is made shorter here.

Sentences end by the default rules of Unicode (UAX 29, SB3 to SB11): after . ! ? 。！？ ؟ । and the other terminators, with the quotes and brackets that
close them, and at ends of lines. The rules know no abbreviations: "Dr. Smith" may end after "Dr.". A full stop before small letters ends no sentence,
unless the text has no capitals at all. A word ends before a space; in scripts without
spaces at every default word boundary.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal
from unicodedata import category

import regex

_IGNORED = r"[\p{SB=Extend}\p{SB=Format}]*+"
_CLOSING = rf"(?:\p{{SB=Close}}{_IGNORED})*+(?:\p{{SB=Sp}}{_IGNORED})*+"
_LINE = r"(?:\r\n|[\p{SB=Sep}\p{SB=CR}\p{SB=LF}])"
_GOES_ON = r"[\p{SB=SContinue}\p{SB=STerm}\p{SB=ATerm}]"
_STARTS = r"\p{SB=OLetter}\p{SB=Upper}\p{SB=Lower}\p{SB=Sep}\p{SB=CR}\p{SB=LF}\p{SB=STerm}\p{SB=ATerm}"
_CONTINUES = rf"(?![^{_STARTS}]*+\p{{SB=Lower}})"
"""What follows a full stop in small letters is the same sentence."""


def _ends(after_full_stop: str) -> regex.Pattern[str]:
    return regex.compile(
        rf"""
        {_LINE}
        | \p{{SB=STerm}}{_IGNORED}{_CLOSING}(?:{_LINE}|(?!{_GOES_ON}))
        | \p{{SB=ATerm}}{_IGNORED}(?!\p{{SB=Numeric}})(?!(?<=[\p{{SB=Upper}}\p{{SB=Lower}}]{_IGNORED}\p{{SB=ATerm}}{_IGNORED})\p{{SB=Upper}})
          {_CLOSING}(?:{_LINE}|(?!{_GOES_ON}){after_full_stop})
        """,
        regex.VERBOSE | regex.V1,
    )


_SENTENCE_END, _UNCASED_END = _ends(_CONTINUES), _ends(rf"(?:(?<=\p{{SB=Sp}}{_IGNORED})|(?!\p{{SB=Lower}}))")
_CAPITAL = regex.compile(r"\p{SB=Upper}")
_UNSPACED = r"[\p{LB=ID}\p{LB=CJ}\p{LB=NS}\p{LB=SA}\u0F0B\u3000-\u303F\uFF00-\uFFEF]"
"""Ideographs, kana, the letters of Thai, Lao, Khmer and Burmese, and the mark between syllables of Tibetan, wide punctuation: beside these a word ends without a space."""
_WORD_END = regex.compile(
    rf"(?w)(?<=\S)(?=\s|\Z)|(?<=\S)\b(?<={_UNSPACED}\p{{M}}*)(?=\S)|(?<=\S)\b(?={_UNSPACED})", regex.V1
)
LEFT_OUT = " ... "
"""Stands where the middle of a text was left out."""

Fits = Callable[[int], bool]
"""Whether a text fits up to this position; once it does not, it does not further on."""


def sentence_ends(text: str) -> list[int]:
    """Positions after each sentence, without the white space that follows it, ascending; the last is the end of the text."""
    pattern = _SENTENCE_END if _CAPITAL.search(text) else _UNCASED_END
    return sorted({*(_without_openings(text, m.end()) for m in pattern.finditer(text)), len(text.rstrip())} - {0})


def word_ends(text: str) -> list[int]:
    """Positions after each word, with the punctuation that follows it without a space, ascending."""
    return sorted({_without_openings(text, match.start()) for match in _WORD_END.finditer(text)} - {0})


def _without_openings(text: str, end: int) -> int:
    """Brackets and quotes that open stay with what follows, and white space is no part of a sentence."""
    while end and (text[end - 1].isspace() or category(text[end - 1]) in ("Ps", "Pi")):
        end -= 1
    return end


def last_fitting(ends: Sequence[int], fits: Fits) -> int:
    """The last of ascending positions that fits, 0 where none does. Only positions up to about twice the result are asked."""
    high = 1
    while high <= len(ends) and fits(ends[high - 1]):
        high *= 2
    low, high = high // 2, min(high, len(ends) + 1)  # ends[low - 1] fits, ends[high - 1] does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(ends[middle - 1]) else (low, middle)
    return ends[low - 1] if low else 0


def parts(text: str, fits: Callable[[int, int], bool]) -> list[str]:
    """A text in consecutive parts that fit: whole sentences, else whole words, else characters.

    Args:
        fits: start, end -> whether this part of the text does. A single character always counts as fitting.
    """
    found: list[str] = []
    places = (sentence_ends(text), word_ends(text), range(1, len(text) + 1))
    start = len(text) - len(text.lstrip())
    while start < len(text):
        end = 0
        for ends in places:
            end = end or last_fitting(ends[bisect_left(ends, start + 1) :], partial(fits, start))
        end = end or start + 1
        found.append(text[start:end])
        start = end + len(text[end:]) - len(text[end:].lstrip())
    return found


def without_middle(text: str, fits: Callable[[str], bool], by: Literal["word", "character"] = "word") -> str:
    """A text that is too long, without words in its middle: the longest that fits. As much stays at its end as at its beginning.

    Args:
        by: characters are left out where not even two words fit.

    Returns:
        the text itself where it fits; an empty text where nothing of both its ends does.
    """
    if fits(text):
        return text
    for ends in (word_ends(text), range(1, len(text) + 1))[: 2 if by == "character" else 1]:
        starts = [0, *(end + len(text[end:]) - len(text[end:].lstrip()) for end in ends[:-1])]

        def kept(pieces: int, ends: Sequence[int] = ends, starts: Sequence[int] = starts) -> str:
            head, tail = pieces // 2, pieces - pieces // 2
            return f"{text[: ends[head - 1]]}{LEFT_OUT}{text[starts[-tail] :]}"

        def kept_fits(pieces: int, kept: Callable[[int], str] = kept) -> bool:
            return fits(kept(pieces))

        if found := last_fitting(range(2, len(ends)), kept_fits):
            return kept(found)
    return ""
