"""What the alarms look at, from the episodes of an update: quantities in [0, 1], each the larger the worse. No answer is made for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.records import Episode
from rag_graph.words import count_words, words


class Symptom(NamedTuple):
    """of: the task; of miscalibration the direction; empty for all tasks. values: in [0, 1]. episodes: of each value. references: the same quantity of the reference answers, where these are known."""

    alarm: str
    of: str
    values: list[float]
    episodes: Sequence[tuple[Episode, ...]]
    references: list[float]


def symptoms(episodes: Sequence[Episode], bands: Mapping[str, tuple[int, int | None]]) -> Iterator[Symptom]:
    """identical, length and evidence_ignored per task, empty over all tasks.

    Args:
        bands: see `length_bands`.
    """
    yield Symptom("empty", "", [float(not words(e.response)) for e in episodes], [(e,) for e in episodes], [])
    for task in dict.fromkeys(e.example.task for e in episodes):
        mine = [e for e in episodes if e.example.task == task]
        pairs = list(_pairs(mine))
        known = [
            (a.example.references[0], b.example.references[0])
            for a, b in pairs
            if a.example.references and b.example.references
        ]
        alike = [alikeness(a.response, b.response) for a, b in pairs]
        yield Symptom("identical", task, alike, list(pairs), [alikeness(a, b) for a, b in known])
        band = bands.get(task)
        at = [float(e.truncated or (band is not None and at_bound(e.response, band))) for e in mine]
        fit = [float(at_bound(e.example.references[0], band)) for e in mine if band and e.example.references]
        yield Symptom("length", task, at, [(e,) for e in mine], fit)
        grounded = [(e, value) for e, other in _with_evidence(mine) if (value := ungrounded(e, other)) is not None]
        yield Symptom("evidence_ignored", task, [value for _, value in grounded], [(e,) for e, _ in grounded], [])


def _pairs(episodes: Sequence[Episode]) -> Iterator[tuple[Episode, Episode]]:
    """Pairs of neighbours that answer different prompts, no answer twice, so that the values do not depend on each other."""
    waiting: Episode | None = None
    for episode in episodes:
        if waiting is None or waiting.prompt == episode.prompt:
            waiting = episode
        else:
            yield waiting, episode
            waiting = None


def _with_evidence(episodes: Sequence[Episode]) -> Iterator[tuple[Episode, Episode]]:
    """An episode, and one beside it that was shown something else."""
    shown = [e for e in episodes if e.evidence]
    for one, other in pairwise([*shown, *shown[:1]]):
        if {p.context.id for p in one.evidence} != {p.context.id for p in other.evidence}:
            yield one, other


def alikeness(one: str, other: str) -> float:
    """The squared Dice coefficient of the words of two texts: 1 where both have the same words, or none. Squared, so that a common form of
    words counts less: "sorry about the parcel" and "sorry about the invoice" are alike to .56."""
    a, b = set(words(one)), set(words(other))
    return (2 * len(a & b) / (len(a) + len(b))) ** 2 if a or b else 1.0


def at_bound(text: str, band: tuple[int, int | None]) -> bool:
    """True for a text of at most `least` words, or of `most` words and more."""
    count, (least, most) = count_words(text), band
    return count <= least or (most is not None and count >= most)


def length_bands(graph: AuxiliaryGraph) -> dict[str, tuple[int, int | None]]:
    """Task -> (least, most) words of the first criterion with metric length_band that applies to it; least is 0 and most None where it is not said."""
    found: dict[str, tuple[int, int | None]] = {}
    for name, criterion in graph.spec.criteria.items():
        if criterion.metric == "length_band":
            band = (int(criterion.args.get("least", 0)), criterion.args.get("most"))
            for task in graph.spec.tasks:
                if graph.applies(name, task):
                    found.setdefault(task, band)
    return found


def ungrounded(episode: Episode, other: Episode) -> float | None:
    """(1 - d) / 2 for d = the share of the answer's own words that the episode's evidence has, less the share that the other's has. An answer
    that ignores what was retrieved finds as much in both: 1/2 in the mean. Words of the question do not count; None where no word is left."""
    said = set(words(episode.response)) - set(words(episode.example.text))
    if not said:
        return None
    own, strange = (set(words(" ".join(p.context.text for p in e.evidence))) for e in (episode, other))
    return (1 - (len(said & own) - len(said & strange)) / len(said)) / 2
