"""An answer as it was drawn, and what all criteria need: shares and content words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag_graph.evaluation.metrics import words
from rag_graph.records import Episode


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMMON = word_set(
    "a an the of to in on at for from by with and or but not no is are was were be been being has have had do does did will would can could "
    "should may might must shall it its this that these those he she they them his her their him i you we us me my your our as if so than "
    "then there here what which who whom whose when where why how about into over after before up down out all any some just very too also "
    "s t re ll ve d m person1 person2 yes well oh ok know think get got go going like want good really let"
)


NAME = re.compile(r"\b[A-Z][A-Za-z']+")


@dataclass(frozen=True)
class Drawn:
    """An answer as it was drawn, with the other answers to its prompt."""

    episode: Episode
    logprob: float
    tokens: int
    others: Sequence[str]

    @property
    def text(self) -> str:
        return self.episode.example.text

    @property
    def response(self) -> str:
        return self.episode.response

    @property
    def passages(self) -> list[str]:
        return [piece.context.text for piece in self.episode.evidence]


def share_of(of: Sequence[object]) -> float:
    return sum(map(bool, of)) / len(of) if of else 0.0


def content_words(text: str) -> list[str]:
    return [word for word in words(text) if word not in COMMON and len(word) > 1]


def covered(wanted: Sequence[str], text: str) -> float:
    there = set(words(text))
    return share_of([word in there for word in wanted])
