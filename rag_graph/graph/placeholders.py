"""Placeholders in prompts. `{name}` is filled with the field of that name; `{{name}}` is the text "{name}"; other braces are text.

A field may have any name without braces. White space inside the braces does not count, so `{ question }` is `{question}`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

_BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}([ \n]?)")
_LIKE_A_NAME = re.compile(r"\s*[^\W\d][\w.-]*\s*")
"""What a typo of a placeholder looks like; `{"label": 1}` and `{1}` are text."""


def placeholders(prompt: str, known: Collection[str]) -> Iterator[str]:
    """The names in braces, in order: those that are known, and others that look like a name."""
    for match in _BRACES.finditer(prompt):
        inner = match.group(2)
        if inner is not None and (inner.strip() in known or _LIKE_A_NAME.fullmatch(inner)):
            yield inner.strip()


def escaped(prompt: str) -> set[str]:
    """The names in double braces, which are text."""
    return {match.group(1).strip() for match in _BRACES.finditer(prompt) if match.group(1) is not None}


def fill(prompt: str, values: Mapping[str, str], dropped: Collection[str] = ()) -> str:
    """Fill the placeholders, in one pass, so that braces inside a value stay.

    Args:
        values: by name; braces around anything else stay as they are.
        dropped: names that are removed, with one space or line end after them.
    """

    def one(match: re.Match[str]) -> str:
        double, inner, gap = match.groups()
        if double is not None:
            return f"{{{double}}}"
        name = inner.strip()
        if name in dropped:
            return ""
        return values[name] + gap if name in values else match.group(0)

    return _BRACES.sub(one, prompt)
