"""What a word is, in any script. Everything that counts, compares or searches words uses this module.

Text is brought to Unicode's form NFKC first, so that composed and decomposed accents, full-width and half-width letters are the same. A word
is then a run of letters with their marks, digits and `_`, as in Unicode's word boundaries (UAX 29), or one emoji. Chinese, Japanese, Thai, Lao, Khmer, Burmese and
Tibetan do not separate words by spaces. Their runs are split into characters, each with its marks, or into overlapping pairs of characters, which
is how Lucene searches such text. The first serves comparison and counting, the second search.

On English text `words` equals bm25s's tokenizer, and `normalise` the SQuAD script (Rajpurkar et al. 2016, arXiv 1606.05250), but for what its
docstring names.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\u30FC\uFF70\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_EMOJI = r"\p{Regional_Indicator}{2}|(?:\p{Emoji_Presentation}|\p{Extended_Pictographic}\uFE0F)\p{EMod}?(?:\u200D\p{Extended_Pictographic}\uFE0F?\p{EMod}?)*"
_WORD = regex.compile(rf"(?V1)(?P<run>(?:[\w&&[{_UNSPACED}]]\p{{M}}*)+)|[\w--[{_UNSPACED}]]+|{_EMOJI}")
_CLUSTER = regex.compile(r"\P{M}\p{M}*")
_HAS_UNSPACED = regex.compile(rf"[{_UNSPACED}]")
_ASCII_WORD = re.compile(r"\w+")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = rf"[\p{{P}}{re.escape(string.punctuation)}]"
_LOOSE = regex.compile(rf"(?<!\d){_PUNCTUATION}|{_PUNCTUATION}(?!\d)")
"""Punctuation but for a mark between two digits: 3:2 is not 32."""
_NUMBER = regex.compile(
    r"""(?P<before>[\p{P}\p{Sc}--[-+.,]]*)(?P<sign>[-+]?)\p{Sc}?
    (?:(?P<top>\d+)/(?P<bottom>\d+)|(?P<figures>\d[\d.,]*|[.,]\d+))
    (?P<after>[\p{P}]*)""",
    regex.VERBOSE | regex.V1,
)
_GROUPED = {mark: re.compile(rf"\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+") for mark in ".,"}
_SIGNS = str.maketrans({"\u2212": "-", "\u2044": "/"})
"""Minus sign and fraction slash. The other forms of these signs become ASCII by NFKC."""
_FRACTION = regex.compile(r"(?<=\d)(?=[\u00BC-\u00BE\u2150-\u215E])")
LONGEST_NUMBER = 100
"""Digits and signs; a longer number is compared as text."""


def folded(text: str) -> str:
    """Form NFKC without differences of case, as Unicode folds it: "Straße" and "STRASSE" are the same, "İ" is "i"."""
    if text.isascii():
        return text.lower()
    lower = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")
    return unicodedata.normalize("NFKC", lower)


def words(text: str, pairs: bool = False) -> list[str]:
    """The words of a text without differences of case, in order, with repetitions.

    Args:
        pairs: scripts without spaces give overlapping pairs of characters instead of single ones.
    """
    return _ASCII_WORD.findall(text.lower()) if text.isascii() else list(_found(folded(text), pairs))


def written_words(text: str) -> list[str]:
    """The same words with capitals as they are written."""
    return _ASCII_WORD.findall(text) if text.isascii() else list(_found(unicodedata.normalize("NFKC", text), False))


def _found(text: str, pairs: bool) -> Iterator[str]:
    for match in _WORD.finditer(text):
        if match["run"] is None:
            yield match[0]
            continue
        clusters = _CLUSTER.findall(match["run"])
        if pairs and len(clusters) > 1:
            yield from map("".join, pairwise(clusters))
        else:
            yield from clusters


def count_words(text: str) -> int:
    """The length of a text in words as people count them: what stands between spaces; in scripts without spaces every character."""
    if text.isascii():
        return len(text.split())
    count = 0
    for piece in unicodedata.normalize("NFKC", text).split():
        count += len(words(piece)) if _HAS_UNSPACED.search(piece) else 1
    return count


def without_spaces(text: str) -> bool:
    """True where a text has letters of a script that does not separate words by spaces."""
    return not text.isascii() and _HAS_UNSPACED.search(text) is not None


def normalise(text: str) -> str:
    """A short answer as it is compared with another: folded, no punctuation, no articles a, an, the, single spaces.

    It differs from the SQuAD script in three ways. Punctuation of all scripts goes, not only ASCII. A number keeps its value: "-5" is not "5",
    "1/2" is not "12", and "1,000" is "1000"; a mark between digits stays, as in "3:2". What normalisation would empty, such as "A" or "+", is kept, so that silence never matches it.
    """
    plain = folded(_FRACTION.sub(" ", text)).translate(_SIGNS)  # 1½ is 1 1/2, and not 11/2
    lower = " ".join(" ".join(map(_valued, plain.split())).split())
    bare = " ".join(_ARTICLES.sub(" ", lower).split())
    return bare or lower or " ".join(plain.split())


def answer_words(text: str) -> list[str]:
    """The words of a normalised answer; in scripts without spaces its characters."""
    return [word for piece in normalise(text).split() for word in (words(piece) if without_spaces(piece) else [piece])]


def _valued(piece: str) -> str:
    """One piece between spaces, without punctuation; a number as its value."""
    value = number(piece)
    return _LOOSE.sub("", piece) if value is None else str(value)


def number(text: str) -> Fraction | None:
    """The value of a number in digits of any script, with sign, fraction, decimal point or comma, thousands separators, a currency sign or per cent
    sign, in quotes or brackets or before a full stop. None for any other text.

    A comma before three digits separates thousands ("1,000"), any other one is a decimal comma ("3,14"). A single point is a decimal point.
    """
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= LONGEST_NUMBER else None
    if match is None:
        return None
    sign = -1 if match["sign"] == "-" else 1
    if match["top"] is not None:
        return sign * Fraction(int(match["top"]), int(match["bottom"])) if int(match["bottom"]) else None
    figures = match["figures"].rstrip(".,")
    points, commas = figures.count("."), figures.count(",")
    if points and commas:  # the last one is the decimal mark
        mark = "." if figures.rfind(".") > figures.rfind(",") else ","
        whole, _, rest = figures.rpartition(mark)
        other = "," if mark == "." else "."
        if mark in whole or not _GROUPED[other].fullmatch(whole):
            return None
        whole = whole.replace(other, "")
    elif commas:
        whole, rest = (figures.replace(",", ""), "") if _GROUPED[","].fullmatch(figures) else _split(figures, ",")
    elif points > 1:
        whole, rest = (figures.replace(".", ""), "") if _GROUPED["."].fullmatch(figures) else ("", "x")
    else:
        whole, rest = _split(figures, ".")
    if not (whole + rest).isdecimal():
        return None
    return sign * Fraction(int(whole + rest), 10 ** len(rest))


def _split(figures: str, mark: str) -> tuple[str, str]:
    whole, _, rest = figures.partition(mark)
    return whole, rest
