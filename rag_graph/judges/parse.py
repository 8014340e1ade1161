"""From what a judge wrote to a mark, or to the reason why there is none. What can be read in two ways is not read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from rag_graph.evaluation.judging import FailureKind
from rag_graph.judges.text import in_line

MARKS = ("mark", "score", "rating")
"""Keys under which a mark may stand."""
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_BARE = re.compile(rf"({_NUMBER})(?:\s*(?:/|out of|of)\s*({_NUMBER}))?\.?", re.IGNORECASE)
_NAMED = re.compile(
    rf"\b(?:mark|score|rating|verdict)\b\s*(?:is|of|[:=])?\s*({_NUMBER})(?![\d.]*\d)(?:\s*(?:/|out of)\s*({_NUMBER}))?",
    re.IGNORECASE,
)
_OUT_OF = re.compile(rf"(?<![\d.])({_NUMBER})\s*(?:/|out of)\s*({_NUMBER})", re.IGNORECASE)
_KEY = re.compile(rf'"(?:mark|score|rating)"\s*:\s*"?({_NUMBER})')
_REFUSES = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:cannot|can't|can not|won't|will not|must decline)|as an ai\b|i apologi[sz]e)",
    re.IGNORECASE,
)


class Mark(NamedTuple):
    """A mark, or why there is none."""

    value: float | None
    failure: FailureKind | None = None
    detail: str = ""


def parse_mark(text: str, low: float, high: float) -> Mark:
    """The mark in a reply: in a JSON object under `mark`, or in words, such as "4", "Mark: 4" or "4/5"."""
    said, problem = _said(text)
    if problem is not None:
        return problem
    records, rest = _objects(said)
    found: list[Any] = [record[key] for record in records for key in MARKS if key in record]
    if not found:
        return _one(_in_words(said, high), low, high, said)
    if all(value is None for value in found):
        return Mark(None, "refusal", f"the judge gave no mark: {in_line(said)}")
    # A quoted object inside an object with an error: which of the two is the verdict, nobody knows.
    return _one([_number(value, high) for value in [*found, *_KEY.findall(rest)]], low, high, said)


def parse_marks(text: str, scales: Sequence[tuple[float, float]]) -> list[Mark]:
    """The marks of several questions: a JSON object with the keys "1", "2", and so on. What is not there is missing for itself alone."""
    said, problem = _said(text)
    if problem is not None:
        return [problem] * len(scales)
    records = [_unfolded(record) for record in _objects(said)[0]]
    found = []
    for number, (low, high) in enumerate(scales, 1):
        values = [record[str(number)] for record in records if str(number) in record]
        if not values:
            found.append(_none(said, f"no mark of question {number}"))
        else:
            found.append(_one([_number(value, high) for value in values], low, high, said))
    return found


def parse_ranking(text: str, size: int) -> list[Mark]:
    """The place in [0, 1] of each of `size` answers, 1 for the best: from a JSON object with `ranking`, numbers of answers from 1, the best first."""
    said, problem = _said(text)
    if problem is not None:
        return [problem] * size
    rankings = [record["ranking"] for record in _objects(said)[0] if isinstance(record.get("ranking"), list)]
    rankings = [ranking for n, ranking in enumerate(rankings) if ranking not in rankings[:n]]
    if len(rankings) != 1:
        return [_none(said, f"{len(rankings)} different rankings" if rankings else "no ranking")] * size
    order = [_number(value, size) for value in rankings[0]]
    if any(place is None or place != int(place) for place in order):
        return [_none(said, "no ranking")] * size
    if any(not 1 <= place <= size for place in order if place is not None):
        return [Mark(None, "out_of_scale", f"the ranking names an answer that is not there: {in_line(said)}")] * size
    if sorted(place for place in order if place is not None) != list(range(1, size + 1)):
        return [_none(said, f"the ranking does not name each of the {size} answers once")] * size
    places = {int(number): place for place, number in enumerate(order) if number is not None}
    return [Mark(1 - places[number] / (size - 1)) for number in range(1, size + 1)]


def reason_in(text: str) -> str:
    """What a judge gives as its reason; else all that it wrote."""
    said = _THOUGHT.sub("", text).strip()
    reasons = [record["reason"] for record in _objects(said)[0] if isinstance(record.get("reason"), str)]
    return reasons[-1] if reasons else said


def _said(text: str) -> tuple[str, Mark | None]:
    said = _THOUGHT.sub("", text).strip()
    if not said:
        return "", Mark(
            None,
            "empty",
            "the judge wrote nothing" if not text.strip() else "the judge wrote its thoughts and no verdict",
        )
    return said, None


def _one(marks: Sequence[float | None], low: float, high: float, said: str) -> Mark:
    different = set(marks)
    if not different:
        return _none(said, "no mark")
    if len(different) > 1:
        return _none(said, "several different marks")
    mark = marks[0]
    if mark is None:
        return _none(said, "a mark that is no number")
    if not low <= mark <= high:
        return Mark(None, "out_of_scale", f"the mark {mark:g} is not from {low:g} to {high:g}")
    return Mark(mark)


def _none(said: str, why: str) -> Mark:
    if _REFUSES.search(said):
        return Mark(None, "refusal", in_line(said))
    return Mark(None, "unreadable", f"{why}: {in_line(said)}")


def _number(value: Any, high: float) -> float | None:
    """A number, or a text that is one, such as "4" or "4/5"."""
    if isinstance(value, dict):
        inner = [value[key] for key in MARKS if key in value]
        value = inner[0] if len(inner) == 1 else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    found = _BARE.fullmatch(value.strip()) if isinstance(value, str) else None
    return _of(found, high) if found else None


def _of(found: re.Match[str], high: float) -> float | None:
    """The number, unless it is said to be of another scale."""
    return float(found[1]) if found[2] is None or float(found[2]) == high else None


def _in_words(said: str, high: float) -> list[float | None]:
    plain = re.sub(r"[*_`#]", "", said).strip()
    bare = _BARE.fullmatch(plain)
    if bare:
        return [_of(bare, high)]
    named = [_of(found, high) for pattern in (_NAMED, _OUT_OF) for found in pattern.finditer(plain)]
    if named:
        return named
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return [_of(found, high) for line in lines if (found := _BARE.fullmatch(line))]


def _unfolded(record: dict[str, Any]) -> dict[str, Any]:
    inner = record.get("marks")
    return inner if isinstance(inner, dict) else record


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if any(found[key] is not value and found[key] != value for key, value in pairs):
        raise ValueError("two values under one key")
    return found


def _objects(text: str) -> tuple[list[dict[str, Any]], str]:
    """The JSON objects in a text that lie in no other, and the text without them. An object that says two things under one key is none."""
    decoder = json.JSONDecoder(object_pairs_hook=_record)
    found, rest, done = [], [], 0
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found.append(value)
            rest.append(text[done:start])
            done = end
        start = text.find("{", end)
    return found, "".join([*rest, text[done:]])
