"""YAML text -> plain Python values with the place of each value, safely.

The text may come from anyone. The events of libyaml are read with limits on size, depth and number of values. Tags,
anchors and aliases are errors: attacks with aliases need them, graph files do not. Plain scalars follow YAML 1.2:
`no` is a text, `1e-3` is a number. A key that appears twice is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rag_graph.stored_file import plain_file

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 200_000
MAX_PROBLEMS = 100
MAX_MESSAGE = 600

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

Location = tuple[str | int, ...]


class Place(NamedTuple):
    """A position in a file; line and column start at 1, as in editors. The file is empty where values came from Python."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(NamedTuple):
    """One problem and its place."""

    place: Place
    text: str

    def __str__(self) -> str:
        """Always one line: control characters are escaped, and very long values are cut."""
        text = self.text if len(self.text) <= MAX_MESSAGE else f"{self.text[:MAX_MESSAGE]} ..."
        line = f"{self.place}: {text}" if self.place.file else text
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


@dataclass
class Document:
    """The content of a file: `data`, and for each location in it the places of its value and of its key."""

    file: str
    data: Any = None
    values: dict[Location, Place] = field(default_factory=dict)
    keys: dict[Location, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    commented: set[Location] = field(default_factory=set)
    """Locations of texts without quotes after which the line goes on with a comment: perhaps a part of the text."""

    def place(self, location: Location, of_key: bool = False) -> Place:
        """The place of a location, or of its nearest ancestor that the document has."""
        for length in range(len(location), -1, -1):
            part = location[:length]
            table = self.keys if of_key and part in self.keys else self.values
            if part in table:
                return table[part]
        return Place(self.file, 1, 1)


def read_bounded(path: Path, limit: int = MAX_BYTES) -> bytes:
    """At most `limit` + 1 bytes of a regular file. It never waits for a pipe and never reads a device.

    Raises:
        OSError: missing, unreadable, or not a regular file.
    """
    with plain_file(path, follow=True) as handle:
        return handle.read(limit + 1)


def load_document(raw: bytes, file: str) -> Document:
    """Read YAML bytes. Problems are collected and never raised. After a syntax error `data` is None."""
    document = Document(file)
    if len(raw) > MAX_BYTES:
        document.problems.append(
            Problem(
                Place(file, 1, 1),
                f"more than a graph file may have ({MAX_BYTES:,} bytes). Move passages into a jsonl file.",
            )
        )
        return document
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        document.problems.append(Problem(Place(file, line, column), "not UTF-8 text. Save the file as UTF-8."))
        return document
    try:
        _Walk(document, text).run()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        document.problems.append(Problem(place, f"not valid YAML: {error.problem or error.context}."))
        document.data = None
    except yaml.YAMLError as error:
        document.problems.append(
            Problem(_place_in(file, text, error), f"not valid YAML: {getattr(error, 'reason', None) or error}.")
        )
        document.data = None
    except _StopReadingError:
        document.data = None
    return document


def _place_in(file: str, text: str, error: yaml.YAMLError) -> Place:
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return Place(file, 1, 1)
    before = text[:position]
    return Place(file, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


class _StopReadingError(Exception):
    pass


class _Walk:
    """One pass over the events, with a stack instead of recursion."""

    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.text = text
        self.lines = text.splitlines()
        self.count = 0
        # Each frame: [container, location, pending key or None]. A mapping waits for a key, then for its value.
        self.stack: list[list[Any]] = []
        self.documents = 0

    def run(self) -> None:
        for event in yaml.parse(self.text, Loader=_LOADER):
            self._one(event)

    def _fail(self, event: Any, text: str) -> None:
        self.document.problems.append(Problem(self._place(event), text))
        raise _StopReadingError

    def _note(self, event: Any, text: str) -> None:
        """A problem after which reading can continue."""
        self.document.problems.append(Problem(self._place(event), text))
        if len(self.document.problems) >= MAX_PROBLEMS:
            self._fail(event, f"more than {MAX_PROBLEMS} problems: reading stops here.")

    def _place(self, event: Any) -> Place:
        return Place(self.document.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _one(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._fail(event, "a second YAML document ('---'). A graph file holds one.")
            return
        if isinstance(event, yaml.AliasEvent):
            self._note(event, f"an alias ('*{event.anchor}'). Aliases are not part of the format: write the value out.")
            self._value(event, None)
            return
        if isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                self._note(
                    event, f"an anchor ('&{event.anchor}'). Anchors are not part of the format: write the value out."
                )
            tag = getattr(event, "tag", None)
            if tag is not None and tag != "!":
                self._note(event, f"a tag ('{tag}'). Tags are not part of the format: remove it.")
        if isinstance(event, yaml.ScalarEvent):
            if any("\ud800" <= c <= "\udfff" for c in event.value):
                self._fail(event, "half of a surrogate pair, which is not a character. Remove it.")
            self._value(event, _scalar(event))
        elif isinstance(event, yaml.MappingStartEvent):
            self._open(event, {})
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open(event, [])
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()

    def _open(self, event: Any, container: dict[str, Any] | list[Any]) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self._fail(event, f"nested more than {MAX_DEPTH} deep. A graph file needs six levels.")
        location = self._value(event, container)
        self.stack.append([container, location, None])

    def _value(self, event: Any, value: Any) -> Location:
        self.count += 1
        if self.count > MAX_VALUES:
            self._fail(event, f"more than {MAX_VALUES:,} values. Split the graph with 'include:'.")
        if not self.stack:
            self.document.data = value
            self.document.values[()] = self._place(event)
            return ()
        frame = self.stack[-1]
        container, location, key = frame
        if isinstance(container, list):
            here: Location = (*location, len(container))
            container.append(value)
        elif key is None:
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(event, "a key that is a list or a map. Keys are names.")
            name = event.value
            here = (*location, name)
            if name in container:
                first = self.document.keys[here]
                self._note(event, f"{'.'.join(map(str, here))}: stated twice, first on line {first.line}. Keep one.")
            else:
                self.document.keys[here] = self._place(event)
            frame[2] = name
            return here
        else:
            here = (*location, key)
            container[key] = value
            frame[2] = None
        self.document.values[here] = self._place(event)
        if isinstance(value, str) and not event.style and self._has_comment(event.end_mark):
            self.document.commented.add(here)
        return here

    def _has_comment(self, mark: Any) -> bool:
        return bool(mark.line < len(self.lines) and self.lines[mark.line][mark.column :].lstrip(" \t").startswith("#"))


def _scalar(event: Any) -> Any:
    if event.style:  # text in quotes or in a block is always text
        return event.value
    text = event.value
    if text in _SPECIAL:
        return _SPECIAL[text]
    if len(text) <= 64:
        if _INT.match(text):
            return int(text)
        if _FLOAT.match(text):
            return float(text)
    return text
