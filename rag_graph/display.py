"""How objects show themselves: one line in a terminal, a small table in a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

LINE = 180
"""The most characters of a line that stands for an object."""
CELL = 60
ROWS = 20
"""The most rows of a table; a last one says how many more there are."""


def cut(text: object, length: int = 60) -> str:
    """One line of at most `length` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


_STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but tab and newline; marks that turn the direction of a text; invisible ones; halves of surrogate pairs."""


def printable(text: str) -> str:
    """The text with its line ends and tabs, and what would steer a terminal escaped."""
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(name: str, *parts: object) -> str:
    """`Name(part, part)`, cut."""
    inside = ", ".join(str(part) for part in parts if str(part))
    return f"{name}({cut(inside, LINE - len(name) - 2)})"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 task", "4 tasks"; nothing for 0."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}" if number else ""


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = flat(value) if isinstance(value, Mapping) and value else None
        found |= {name: value} if inner is None else {f"{name}.{key}": item for key, item in inner.items()}
    return found


def settings_line(name: str, settings: Mapping[str, Any]) -> str:
    """`Name(key=value, part.key=value)`, cut."""
    return one_line(name, *(f"{key}={cut(repr(value))}" for key, value in flat(settings).items()))


def numbers(values: Mapping[str, float | None]) -> str:
    """`{name: 0.50, other: -1.00}`; None stands as "-"."""
    shown = (f"{name}: {'-' if value is None else format(value, '.2f')}" for name, value in values.items())
    return "{" + ", ".join(shown) + "}"


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()) -> str:
    """A table for a notebook: all text escaped and cut, at most `ROWS` rows.

    Args:
        caption: what it is, shown in bold.
        rows: cells, as many as the header has.
        notes: lines below.
    """
    found = list(rows)
    head = "".join(f"<th>{escape(cut(cell, CELL))}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cut(cell, CELL))}</td>" for cell in row) + "</tr>" for row in found[:ROWS]
    )
    below = [*([f"and {len(found) - ROWS} more rows"] if len(found) > ROWS else []), *list(notes)[:5]]
    lines = "".join(f"<div>{escape(cut(note, 300))}</div>" for note in below)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if found else ""
    return f"<div><strong>{escape(cut(caption, 200))}</strong>{table}{lines}</div>"
