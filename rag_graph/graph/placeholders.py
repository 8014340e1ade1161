"""Placeholders in prompts. `{name}` is filled with the field of that name; `{{name}}` is the text "{name}"; other braces are text.

A field may have any name without braces. White space inside the braces does not count, so `{ question }` is `{question}`. Three braces are the
text of one pair around what is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

_BRACES = re.compile(r"(\{+)([^{}]*)(\}+)([ \n]?)")
_LIKE_A_NAME = re.compile(r"[^\W\d][\w.-]*")
"""What a typo of a placeholder looks like; `{"label": 1}` and `{1}` are text."""


def placeholders(prompt: str, known: Collection[str]) -> Iterator[str]:
    """The names in braces, in order: those that are known, and others that look like a name."""
    for match in _BRACES.finditer(prompt):
        name = match.group(2).strip()
        if _depth(match) % 2 and (name in known or _LIKE_A_NAME.fullmatch(name)):
            yield name


def escaped(prompt: str) -> set[str]:
    """The names in double braces, which are text."""
    return {match.group(2).strip() for match in _BRACES.finditer(prompt) if not _depth(match) % 2}


def fill(prompt: str, values: Mapping[str, str], dropped: Collection[str] = ()) -> str:
    """Fill the placeholders, in one pass, so that braces inside a value stay.

    Args:
        values: by name; braces around anything else stay as they are.
        dropped: names that are removed, with one space or line end after them.
    """

    def one(match: re.Match[str]) -> str:
        opening, inner, closing, gap = match.groups()
        name, depth = inner.strip(), _depth(match)
        if depth % 2 and name not in values and name not in dropped:
            return match.group(0)
        if name in dropped and len(opening) == len(closing) == 1:
            return ""
        text = inner if depth % 2 == 0 else "" if name in dropped else values[name]
        half = depth // 2
        return "{" * (len(opening) - depth + half) + text + "}" * (len(closing) - depth + half) + gap

    return _BRACES.sub(one, prompt)


def _depth(match: re.Match[str]) -> int:
    """How many braces around a name belong together."""
    return min(len(match.group(1)), len(match.group(3)))
