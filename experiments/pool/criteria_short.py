"""Criteria of short answers: of questions with passages, and of kinds of questions."""

from __future__ import annotations

import re

from answers import NAME, Drawn, content_words, covered, share_of

from rag_graph.evaluation.metrics import METRICS, Judged, words

# ---------------------------------------------------------------------- question


def found(a: Drawn) -> float:
    return float(any(_stands_in(a.response, passage) for passage in a.passages))


def first(a: Drawn) -> float:
    return float(bool(a.passages) and _stands_in(a.response, a.passages[0]))


def _stands_in(answer: str, text: str) -> bool:
    said = " ".join(words(answer))
    return bool(said) and f" {said} " in f" {' '.join(words(text))} "


def relevant(a: Drawn) -> float:
    return covered(content_words(a.text), a.passages[0]) if a.passages else 0.0


def near(a: Drawn) -> float:
    """Share of the question's content words in the best sentence that holds the answer."""
    sentences = [s for passage in a.passages for s in re.split(r"(?<=[.!?]) ", passage) if _stands_in(a.response, s)]
    return max((covered(content_words(a.text), sentence) for sentence in sentences), default=0.0)


def type_(a: Drawn) -> float:
    """1 fits, 0 does not, .5 where the question word says nothing."""
    asked = " ".join(words(a.text))
    number = bool(re.search(r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million)\b", a.response.lower()))  # fmt: skip
    if re.search(r"\b(when|how many|how much|how long|what year|which year|what percentage)\b", asked):
        return float(number)
    if re.search(r"\b(who|whose|whom|where)\b", asked):
        return float(bool(re.search(r"[A-Z]", a.response)))
    return 0.5


def agree_answer(a: Drawn) -> float:
    """Mean token F1 with the other answers (self-consistency, Wang et al. 2022, arXiv 2203.11171)."""
    same = [METRICS["token_f1"](Judged(a.response, (other,))) for other in a.others]
    return sum(value or 0.0 for value in same) / len(same) if same else 0.0


def echo(a: Drawn) -> float:
    said = content_words(a.response)
    return covered(said, a.text) if said else 0.0


# ---------------------------------------------------------------------- kind

LABELS = ("abbreviation", "description", "thing", "person", "place", "number")
_CUES = {
    "abbreviation": "abbreviation letters stand stands short acronym",
    "description": "explanation reason definition description meaning describe manner means explain how why",
    "thing": "object thing animal food instrument color colour product game sport word language book film movie event disease plant vehicle term",
    "person": "person somebody someone name people man woman who group organization company author actor",
    "place": "place city country state location where mountain river capital continent",
    "number": "count number date year amount age time price distance percentage size speed cost how",
}
_RULES = (
    (r"\b(stand for|abbreviation|acronym)\b", "abbreviation"),
    (r"^(who|whose|whom)\b", "person"),
    (r"^where\b|^(what|which) (city|country|state|continent|river|island|mountain|county|capital)\b", "place"),
    (r"^when\b|^how (many|much|long|old|far|tall|fast|big|high|deep|often|hot)\b|^(what|which) (year|date|day|percentage)\b", "number"),
    (r"^why\b|^how (do|does|did|can|is|are|was|were|to)\b|^(what is|what are|what was|define)( a| an| the)? \w+$|^what (causes|caused)\b", "description"),
    (r"^(what|which) (\w+ )?(animal|food|color|colour|instrument|game|sport|book|film|movie|word|disease|language|plant|drink)\b", "thing"),
)  # fmt: skip


def label_of(response: str) -> str:
    """What stands after the arrow, without a full stop; empty without an arrow."""
    _, arrow, label = response.rpartition("->")
    return label.strip().rstrip(".").strip() if arrow else ""


def _reason(response: str) -> str:
    return response.rpartition("->")[0] or response


def accuracy(a: Drawn) -> float | None:
    """The goal: the kind that the line ends in, compared with the reference."""
    return METRICS["accuracy"](Judged(label_of(a.response), a.episode.example.references))


def valid(a: Drawn) -> float:
    return float(label_of(a.response).lower() in LABELS)


def rule(a: Drawn) -> float:
    """1 where a rule of thumb names this kind, 0 where it names another, .5 where none applies; 0 without a kind."""
    label = label_of(a.response).lower()
    if label not in LABELS:
        return 0.0
    asked = " ".join(words(a.text))
    named = next((kind for pattern, kind in _RULES if re.search(pattern, asked)), None)
    return 0.5 if named is None else float(named == label)


def agree_label(a: Drawn) -> float:
    label = label_of(a.response).lower()
    return share_of([label_of(other).lower() == label for other in a.others]) if label in LABELS else 0.0


def consistent(a: Drawn) -> float:
    """1 where the reason has a word of this kind, 0 where it has words of other kinds only, .5 without any."""
    label, said = label_of(a.response).lower(), set(words(_reason(a.response)))
    speaks = {kind for kind, cues in _CUES.items() if said & set(cues.split())}
    return 0.5 if not speaks else float(label in speaks)


def grounded(a: Drawn) -> float:
    asked = set(content_words(a.text))
    return float(any(word in asked for word in content_words(_reason(a.response))))


def single(a: Drawn) -> float:
    return float(len(set(words(a.response)) & set(LABELS)) <= 1)


def wordy(a: Drawn) -> float:
    """0 up to 12 words, 1 from 24 on."""
    return min(1.0, max(0.0, (len(words(a.response)) - 12) / 12))


def names(a: Drawn) -> float:
    asked = set(words(a.text))
    return float(any(name.lower() not in asked for name in NAME.findall(_reason(a.response))[1:]))
