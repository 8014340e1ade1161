"""Explains pydantic's errors in the terms of a graph file."""

from __future__ import annotations

from typing import Any

from rag_graph.errors import near_miss
from rag_graph.graph.spec import FORMAT, Context, Criterion, Dataset, Edge, GraphSpec, Relation, Task
from rag_graph.records import METRIC_NAMES
from rag_graph.version import __version__
from rag_graph.yaml_document import Location


def location_in(data: Any, loc: tuple[int | str, ...], kind: str) -> Location:
    """Drop the parts of a pydantic location that the document does not have: tags of unions, '[key]'. A missing key stays."""
    location: list[int | str] = []
    for position, part in enumerate(loc):
        here = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if here:
            data = data[part]  # type: ignore[index]
        if here or (kind == "missing" and position == len(loc) - 1):
            location.append(part)
    return tuple(location)


def dotted(location: Location) -> str:
    """("edges", 0, "from") -> "edges[0].from"."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


_MODELS: dict[str, type] = {
    "relations": Relation,
    "tasks": Task,
    "criteria": Criterion,
    "contexts": Context,
    "edges": Edge,
}


def _known_keys(location: Location) -> list[str]:
    if len(location) == 1:
        return list(GraphSpec.model_fields)
    if location[-2] == "dataset":
        return list(Dataset.model_fields)
    model = _MODELS.get(str(location[0]))
    return [field.alias or name for name, field in model.model_fields.items()] if model else []  # type: ignore[attr-defined]


def _format_message(given: Any) -> str:
    if isinstance(given, int) and not isinstance(given, bool) and given > FORMAT:
        return f"format: {given} is too new for this package (rag_graph {__version__} reads format {FORMAT}). Upgrade rag_graph."
    return f"format: {given!r:.80} is not a format. Write 'format: {FORMAT}'."


def kind_of(value: Any) -> str:
    name = type(value).__name__
    return "nothing" if value is None else f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _not_text(given: Any) -> str:
    """What YAML made of a text without quotes."""
    if isinstance(given, dict):
        return "text is expected, and braces without quotes are a map in YAML: put the text in quotes."
    if isinstance(given, bool | int | float):
        what = "a truth value" if isinstance(given, bool) else "a number"
        shown = str(given).lower() if isinstance(given, bool) else given
        return f"text is expected, and without quotes this is {what}, {shown}. Put it in quotes."
    if given is None:
        return "text is expected, and this is null. Put it in quotes if it is a word; else leave it out."
    return f"text is expected, {kind_of(given)} given."


def explain(problem: Any, location: Location) -> str:
    """The problem in one or two sentences; empty if another problem explains it better."""
    kind, given = problem["type"], problem.get("input")
    context = problem.get("ctx", {})
    last = location[-1] if location else ""
    if location == ("format",) and kind != "missing":
        return _format_message(given).removeprefix("format: ")
    if kind == "extra_forbidden":
        return f"unknown key '{last}'.{near_miss(str(last), _known_keys(location))}"
    if kind == "missing":
        return f"'{last}' is missing."
    if kind == "literal_error":
        known = (
            METRIC_NAMES
            if "metric" in str(location) and last != "kind"
            else tuple(str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", "))
        )
        return f"unknown value {given!r}.{near_miss(str(given), known)} Known: {', '.join(known)}."
    if kind in ("less_than_equal", "greater_than_equal"):
        side = f"above {context['le']:g}" if kind == "less_than_equal" else f"below {context['ge']:g}"
        meaning = (
            "A strength is a number from 0 to 1."
            if last == "strength"
            else "A weight is a number from 0 to 1000."
            if last != "limit"
            else "Give a whole number from 1."
        )
        return f"{given} is {side}. {meaning}"
    if last == "labels" and kind in ("dict_type", "tuple_type"):
        other_arm = isinstance(given, list) if kind == "dict_type" else isinstance(given, dict)
        return "" if other_arm else "a list of labels, or a map from the data's value to the word, is expected."
    if kind in ("dict_type", "tuple_type", "model_type"):
        wanted = "list" if kind == "tuple_type" else "map"
        empty = ": write {} for one without keys" if given is None and kind == "model_type" else ""
        return f"a {wanted} is expected, {kind_of(given)} given{empty}."
    if kind == "string_pattern_mismatch":
        return f"{given!r} is not a name. A name starts with a letter and has letters, digits, _ and -, at most 64."
    if kind == "value_error":
        return f"{str(context['error']).rstrip('.')}."
    if kind == "string_type":
        return _not_text(given)
    shown = repr(given) if isinstance(given, str | int | float | bool | None) else kind_of(given)
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]}, {shown[:80]} given."
