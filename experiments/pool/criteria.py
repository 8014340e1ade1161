"""The criteria of the pools that no built-in metric measures, and the scores of all nodes of an answer. None of them reads a reference.

The expert's part is here: a criterion is a number in [0, 1] that is high where its title holds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

import criteria_short as short
from answers import COMMON, NAME, Drawn, content_words, covered, share_of, word_set

from rag_graph.evaluation.metrics import words
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.graph import AuxiliaryGraph

_VERB = re.compile(r"(ed|ing|es|s)$")
_VERBS = word_set("is are was were has have had will to can says said goes wants tells asks")
_FIRST_PERSON = word_set("i you we me my your our us i'm you're we're i'll you'll")


# ---------------------------------------------------------------------- of all pools


def ended(a: Drawn) -> float:
    return float(not a.episode.truncated)


def fluent(a: Drawn) -> float:
    """exp of the mean log-probability of a token; the token that ends the answer counts."""
    return math.exp(min(0.0, a.logprob / max(1, a.tokens + (not a.episode.truncated))))


def predicate(a: Drawn) -> float:
    return float(any(word in _VERBS or (len(word) > 3 and _VERB.search(word)) for word in words(a.response)))


# ---------------------------------------------------------------------- headline


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    row = [0] * (len(right) + 1)
    for x in left:
        above = row
        row = [0]
        for place, y in enumerate(right):
            row.append(above[place] + 1 if x == y else max(above[place + 1], row[-1]))
    return row[-1]


def ordered(a: Drawn) -> float:
    said = words(a.response)
    return _common_subsequence(said, words(a.text)) / len(said) if said else 0.0


def entity(a: Drawn) -> float:
    """The first capitalised word that is no common word."""
    names = [name for name in NAME.findall(a.text) if name.lower() not in COMMON]
    return float(bool(names) and names[0].lower() in words(a.response))


def lead(a: Drawn) -> float:
    text = words(a.text)
    first = set(text[: len(text) // 2])
    return share_of([word in first for word in words(a.response)])


def fresh(a: Drawn) -> float:
    said = words(a.response)
    return len(set(said)) / len(said) if said else 0.0


def copied_beginning(a: Drawn) -> float:
    said, text = words(a.response), words(a.text)
    same = next((n for n, (x, y) in enumerate(zip(said, text, strict=False)) if x != y), min(len(said), len(text)))
    return same / len(said) if said else 0.0


# ---------------------------------------------------------------------- dialogue


def _people(a: Drawn) -> set[str]:
    """Those who take part: #Person1#, and names that the dialogue calls somebody by."""
    named = {name.lower() for name in re.findall(r"(?:Mr|Mrs|Ms|Miss|Dr)\.? ([A-Z][a-z]+)", a.text)}
    called = {name.lower() for name in re.findall(r"(?:^|[,:.!?] )([A-Z][a-z]+)[,!.?]", a.text)} - COMMON
    return {"person1", "person2"} | named | called


def _named(a: Drawn) -> int:
    return len(_people(a) & set(words(a.response)))


def speaker(a: Drawn) -> float:
    return float(_named(a) >= 1)


def both(a: Drawn) -> float:
    return float(_named(a) >= 2)


def topic(a: Drawn) -> float:
    """Share of the five content words that come most often."""
    counts = Counter(content_words(a.text))
    most = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]]
    return covered(most, a.response)


def spread(a: Drawn) -> float:
    """Content words from the half that gives fewer, twice their share."""
    text = content_words(a.text)
    halves = set(text[: len(text) // 2]), set(text[len(text) // 2 :])
    counts = [sum(word in half for word in content_words(a.response)) for half in halves]
    return min(1.0, 2 * min(counts) / sum(counts)) if sum(counts) else 0.0


def first_person(a: Drawn) -> float:
    """1 from three such words on."""
    return min(1.0, sum(word in _FIRST_PERSON for word in a.response.lower().split()) / 3)


def copied_piece(a: Drawn) -> float:
    """The longest piece of the answer that stands in the dialogue, as a share of the answer; up to three words do not count."""
    said, text = words(a.response), words(a.text)
    if not said:
        return 0.0
    match = SequenceMatcher(None, said, text, autojunk=False).find_longest_match(0, len(said), 0, len(text))
    return match.size / len(said) if match.size > 3 else 0.0


def repeats(a: Drawn) -> float:
    """Share of pairs of neighbouring words that were there before."""
    said = words(a.response)
    pairs = list(pairwise(said))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


CRITERIA: dict[str, dict[str, Callable[[Drawn], float | None]]] = {
    "headline": {
        "ended": ended, "ordered": ordered, "entity": entity, "lead": lead, "fluent": fluent, "fresh": fresh,
        "copied": copied_beginning, "predicate": predicate,
    },
    "dialogue": {
        "ended": ended, "speaker": speaker, "both": both, "topic": topic, "spread": spread, "predicate": predicate,
        "fluent": fluent, "first_person": first_person, "copied": copied_piece, "repeats": repeats,
    },
    "question": {
        "ended": ended, "found": short.found, "first": short.first, "relevant": short.relevant, "near": short.near, "type": short.type_,
        "agree": short.agree_answer, "fluent": fluent, "echo": short.echo,
    },
    "kind": {
        "ended": ended, "valid": short.valid, "rule": short.rule, "agree": short.agree_label, "consistent": short.consistent,
        "grounded": short.grounded, "fluent": fluent, "single": short.single, "wordy": short.wordy, "names": short.names, "kind": short.accuracy,
    },
}  # fmt: skip


def score(pool: str, graph: AuxiliaryGraph, answers: Sequence[Drawn]) -> list[dict[str, float]]:
    """The scores of all nodes of each answer, the goal among them.

    Raises:
        DataError: a score outside [0, 1].
    """
    of_episode = {answer.episode.id: answer for answer in answers}
    scorers = {
        node: lambda episode, measure=measure: measure(of_episode[episode.id])
        for node, measure in CRITERIA[pool].items()
    }
    scorer = NodeScorer(graph, scorers=scorers)
    return [scorer.score(answer.episode) for answer in answers]
