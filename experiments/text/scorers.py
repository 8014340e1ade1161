"""The own functions of each task: the goals that built-in metrics do not measure, and the criteria. A criterion reads no reference."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "pool"))

import criteria as pool
import criteria_short as short
from answers import COMMON, Drawn
from rules import SENTIMENT, TOPIC, Rule

from rag_graph.evaluation.metrics import Judged, rouge_l, token_f1, words
from rag_graph.records import Episode
from rag_graph.words import answer_words

Score = Callable[[Episode], float | None]

# ---------------------------------------------------------------------- goals


def _share(wanted: Iterable[str], said: Iterable[str]) -> float:
    """Share of the wanted words that were said; 1 where none is wanted."""
    wanted, said = set(wanted), set(said)
    return len(wanted & said) / len(wanted) if wanted else 1.0


def names(text: str) -> list[str]:
    """Words with a capital letter or a digit, in lower case, without those that every text has."""
    found = [word.lower() for word in re.findall(r"\w*[A-Z0-9]\w*", text)]
    return [word for word in found if word not in COMMON]


def headline(episode: Episode) -> float:
    """ROUGE-L times the share of the reference's names and numbers; the best over the references."""
    return max(
        (rouge_l(Judged(episode.response, (reference,))) or 0.0) * _share(names(reference), words(episode.response))
        for reference in episode.example.references
    )


def summary(episode: Episode) -> float:
    """ROUGE-L times the share of the reference's people; the best over the references. A name is a capitalised word within a sentence, or #PersonN#."""
    found = 0.0
    for reference in episode.example.references:
        people = re.findall(r"Person\d", reference) + re.findall(r"(?<![.!?] )(?<!^)\b[A-Z][a-z]+\b", reference)
        named = {word.lower() for word in people} - COMMON | {
            word.lower() for word in people if word.startswith("Person")
        }
        found = max(
            found, (rouge_l(Judged(episode.response, (reference,))) or 0.0) * _share(named, words(episode.response))
        )
    return found


def answer(episode: Episode) -> float:
    """Token F1 times the share of the reference's words; the best over the references."""
    return max(
        (token_f1(Judged(episode.response, (reference,))) or 0.0)
        * _share(answer_words(reference), answer_words(episode.response))
        for reference in episode.example.references
    )


# ---------------------------------------------------------------------- criteria


def agreement(rule: Rule) -> Score:
    """1 if the answer is the label that the rule names for the text, 0 if it is not, None if the rule says nothing."""

    def score(episode: Episode) -> float | None:
        named = rule(episode.example.text)
        return None if named is None else float(episode.response.strip().rstrip(".").lower() == named)

    return score


def of_pool(criterion: Callable[[Drawn], float | None]) -> Score:
    """A criterion of experiments/pool that looks at nothing but the episode."""
    return lambda episode: criterion(Drawn(episode, 0.0, 0, ()))


SCORERS: dict[str, dict[str, Score]] = {
    "labels": {name: agreement(rule) for name, rule in {**TOPIC, **SENTIMENT}.items()},
    "headline": {
        "headline": headline,
        "ordered": of_pool(pool.ordered), "entity": of_pool(pool.entity), "lead": of_pool(pool.lead), "fresh": of_pool(pool.fresh),
        "predicate": of_pool(pool.predicate),
    },
    "dialogue": {
        "summary": summary,
        "speaker": of_pool(pool.speaker), "both": of_pool(pool.both), "topic": of_pool(pool.topic), "spread": of_pool(pool.spread),
        "predicate": of_pool(pool.predicate), "first_person": of_pool(pool.first_person), "copied": of_pool(pool.copied_piece),
        "repeats": of_pool(pool.repeats),
    },
    "question": {
        "answer": answer,
        "found": of_pool(short.found), "first": of_pool(short.first), "relevant": of_pool(short.relevant), "near": of_pool(short.near),
        "type": of_pool(short.type_), "echo": of_pool(short.echo),
    },
}  # fmt: skip
"""Task -> node -> its own function."""
