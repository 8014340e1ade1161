"""What is sent for many questions: which of them share a request, and whose verdict goes where."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag_graph.evaluation.judging import Question
from rag_graph.judges.prompt import Shape, render


@dataclass(slots=True)
class Request:
    """One request.

    questions: that it asks, each once. places: of each, where its verdict goes in the list of all that was asked; equal questions share a verdict.
    """

    shape: Shape
    text: str
    questions: list[Question] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)


def requests_for(
    questions: Sequence[Question], template: str, together: bool = False, rank: bool = False
) -> list[Request]:
    """The requests for questions, in the order of their first question. Equal questions about equal answers are asked once.

    Args:
        together: questions about one answer share a request, unless one of them shows the reference and the other does not.
        rank: answers to one prompt are ranked by a question in one request, in an order that says nothing of where they came from. An answer that
            has no other beside it gets a mark.
    """
    same: dict[tuple[object, ...], list[int]] = {}
    for place, question in enumerate(questions):
        same.setdefault(_content(question), []).append(place)
    groups: dict[object, list[list[int]]] = {}
    for places in same.values():
        one = questions[places[0]]
        about = (one.episode.prompt, one.reference)
        if together:
            key: object = (*about, one.episode.response)
        elif rank:
            key = (*about, one.text, one.low, one.high)
        else:
            key = places[0]
        groups.setdefault(key, []).append(places)
    requests = []
    for group in groups.values():
        if rank:
            group = sorted(
                group, key=lambda places: hashlib.sha256(_bytes(questions[places[0]].episode.response)).digest()
            )
        shape: Shape = "mark" if len(group) == 1 else "ranking" if rank else "marks"
        asked = [questions[places[0]] for places in group]
        requests.append(Request(shape, render(template, shape, asked), asked, group))
    return requests


def _content(question: Question) -> tuple[object, ...]:
    """All that a verdict depends on."""
    episode = question.episode
    return question.text, question.low, question.high, question.reference, episode.prompt, episode.response


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
