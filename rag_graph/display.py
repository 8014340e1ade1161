"""How objects show themselves: one line in a terminal, a small table in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

LINE = 180
"""The most characters of a line that stands for an object."""
CELL = 120
ROWS = 20
"""The most rows of a table; a last one says how many more there are."""


def cut(text: object, length: int = 60) -> str:
    """One line of at most `length` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def one_line(name: str, *parts: object) -> str:
    """`Name(part, part)`, cut."""
    inside = ", ".join(str(part) for part in parts if str(part))
    return f"{name}({cut(inside, LINE - len(name) - 2)})"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """"1 task", "4 tasks"; nothing for 0."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}" if number else ""


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()) -> str:
    """A table for a notebook: all text escaped and cut, at most `ROWS` rows.

    Args:
        caption: what it is, shown in bold.
        rows: cells, as many as the header has.
        notes: lines below.
    """
    found = list(rows)
    head = "".join(f"<th style='text-align:left'>{escape(cut(cell, CELL))}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(cut(cell, CELL))}</td>" for cell in row) + "</tr>"
        for row in found[:ROWS]
    )
    below = [*([f"and {len(found) - ROWS} more rows"] if len(found) > ROWS else []), *list(notes)[:5]]
    lines = "".join(f"<div>{escape(cut(note, 300))}</div>" for note in below)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if found else ""
    return f"<div><strong>{escape(cut(caption, 200))}</strong>{table}{lines}</div>"
