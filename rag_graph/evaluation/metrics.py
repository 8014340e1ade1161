"""Metrics on texts, in [0, 1], or None if there is nothing to measure. They are pure functions.

ROUGE comes from `rouge_score`, BLEU from `sacrebleu`, macro-F1 from scikit-learn; token F1 and exact match follow the SQuAD
script (Rajpurkar et al. 2016, arXiv 1606.05250). What a word is, in any script, is said in `rag_graph.words`. A response that is empty never
matches a reference that is not. A reference in which a metric finds nothing to compare is not used; without another one the metric is missing.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import regex

from rag_graph.words import answer_words, count_words, folded, normalise, words, written_words

_QUOTES = "'\"`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f"
_FINAL = ".,;:!?\u3002\u3001\u0964\u0965\u061f\u060c\u061b\u06d4\uff61\u2026\u104b"
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HAN = regex.compile(r"\p{Han}")
_CHARACTERS = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]")


class LabelModel(Protocol):
    """A frozen classifier of texts."""

    labels: Sequence[str]

    def probabilities(self, text: str) -> Sequence[float]:
        """One probability per label. They are cached, because texts repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """The arguments of a metric: the response, and what it is compared with."""

    response: str
    references: tuple[str, ...] = ()
    source: str = ""
    """The input text and the evidence: the sources of a faithful response."""
    labels: tuple[str, ...] = ()
    truncated: bool = False
    args: dict[str, Any] = field(default_factory=dict)
    classifier: LabelModel | None = None


def _written(text: str) -> bool:
    """Some mark on the page; an empty reference says nothing about a right answer."""
    return bool(text.strip())


def _best(
    judged: Judged, score: Callable[[str, str], float], comparable: Callable[[str], bool] = _written
) -> float | None:
    """The best score over the references; None without one that the metric can compare with."""
    return max(
        (score(judged.response, reference) for reference in judged.references if comparable(reference)), default=None
    )


def accuracy(judged: Judged) -> float | None:
    """1 if the response is a reference label, without regard to case, quotes and a final punctuation mark."""
    return _best(judged, lambda response, label: float(_label(response) == _label(label)))


def _label(text: str) -> str:
    """Ignore case, outer white space, quotes and a final punctuation mark, of any script. Signs count: "-1" is not "1", "C++" is not "C"."""
    plain = unicodedata.normalize("NFKC", text).strip()
    return folded(plain.strip(_QUOTES).rstrip(_FINAL).strip() or plain)


def exact_match(judged: Judged) -> float | None:
    """1 if the normalised texts are equal."""
    return _best(judged, lambda response, reference: float(normalise(response) == normalise(reference)))


def token_f1(judged: Judged) -> float | None:
    """F1 of the bags of normalised words; of characters in scripts without spaces."""
    return _best(judged, _token_f1)


def _token_f1(response: str, reference: str) -> float:
    left, right = answer_words(response), answer_words(reference)
    shared = sum((Counter(left) & Counter(right)).values())
    return 2 * shared / (len(left) + len(right))


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return {name: RougeScorer([name], tokenizer=_RougeWords()) for name in ("rouge1", "rouge2", "rougeL")}


class _RougeWords:
    """Words of any script for rouge_score. In ASCII text they are those of its own tokenizer, which knows a-z and 0-9 only."""

    def tokenize(self, text: str) -> list[str]:
        return words(text.replace("_", " "))


def _rouge_f(name: str) -> Callable[[Judged], float | None]:
    def score(judged: Judged) -> float | None:
        return _best(
            judged,
            lambda response, reference: float(_rouge()[name].score(reference, response)[name].fmeasure),
            lambda reference: bool(words(reference)),
        )

    score.__doc__ = f"F-measure of {name} (Lin 2004), no stemming; of characters in scripts without spaces. ASCII text gives what rouge_score gives."
    return score


rouge_1, rouge_2, rouge_l = _rouge_f("rouge1"), _rouge_f("rouge2"), _rouge_f("rougeL")


def entity_recall(judged: Judged) -> float | None:
    """Share of the names and numbers of the reference that the response says (recall of entities, Nan et al. 2021, arXiv 2102.09130). A name is a word
    with a capital whose small form stands nowhere in the reference or the input; a number has a digit. Where there is none, and in scripts without
    capitals, every word of the reference counts."""
    said = set(words(judged.response))

    def recall(response: str, reference: str) -> float:
        wanted = _entities(reference, judged.source)
        return len(wanted & said) / len(wanted)

    return _best(judged, recall, lambda reference: bool(words(reference)))


def _entities(text: str, source: str) -> set[str]:
    """The folded words that `entity_recall` looks for."""
    written = written_words(text)
    small = {word for word in [*written, *written_words(source)] if word == word.lower()}
    names = {word for word in written if word != word.lower() and word.lower() not in small and len(word) > 1}
    numbers = {word for word in written if any(map(str.isdigit, word))}
    has_capitals = text.lower() != text.upper()
    return {folded(word) for word in names | numbers} if has_capitals and names | numbers else set(words(text))


@lru_cache(maxsize=8)
def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True, tokenize=tokenizer)


def bleu_tokenizer(references: Sequence[str]) -> str:
    """sacrebleu's name of the tokenizer for these references: zh for Chinese; ja-mecab for Japanese, and char where MeCab is not installed; char
    for Thai, Lao, Khmer, Burmese and Tibetan; 13a for all other text."""
    text = "".join(references)
    if text.isascii():
        return "13a"
    if _KANA.search(text):
        return "ja-mecab" if find_spec("MeCab") and find_spec("ipadic") else "char"
    if _HAN.search(text):
        return "zh"
    return "char" if _CHARACTERS.search(text) else "13a"


def bleu(judged: Judged) -> float | None:
    """Sentence BLEU (Papineni et al. 2002) against all references, exponential smoothing, effective order; 0 to 1."""
    references = [unicodedata.normalize("NFC", reference) for reference in judged.references if reference.strip()]
    if not references:
        return None
    scorer, response = _bleu(bleu_tokenizer(references)), unicodedata.normalize("NFC", judged.response)
    return min(1.0, float(scorer.sentence_score(response, references).score) / 100)


def length_band(judged: Judged) -> float:
    """1 for `least` to `most` words; falls linearly to 0 at no words, and at twice `most`. A character of a script without spaces counts as a word."""
    count = count_words(judged.response)
    least, most = judged.args.get("least", 0), judged.args.get("most")
    if count < least:
        return float(count / least)
    if most is not None and count > most:
        return float(max(0.0, 1 - (count - most) / max(1, most)))
    return 1.0


PATTERN_SECONDS = 1.0
"""So long a pattern may look at a response."""


def format_(judged: Judged) -> float | None:
    """1 if the response has the right form: `pattern` matches all of it; without a pattern, it is one of the labels; without labels, it is
    one non-empty line that was not cut off. Missing where the pattern looks at the response for more than a second."""
    response = judged.response.strip()
    if "pattern" in judged.args:
        try:
            return float(regex.fullmatch(judged.args["pattern"], response, timeout=PATTERN_SECONDS) is not None)
        except TimeoutError:
            warnings.warn(
                f"metric 'format': pattern {judged.args['pattern']!r:.80} looked at a response of {len(response)} characters for more than "
                f"{PATTERN_SECONDS:g} s; the score is missing there. Repeats within repeats, as in (a+)+, do that.",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
    if judged.labels:
        return float(_label(response) in {_label(label) for label in judged.labels})
    return float(bool(response) and "\n" not in response and not judged.truncated)


def faithfulness(judged: Judged) -> float | None:
    """Share of the words of the response that appear in the input or the evidence, of pairs of characters in scripts without spaces; None without
    either."""
    known = set(words(judged.source, pairs=True))
    if not known:
        return None
    said = words(judged.response, pairs=True)
    return sum(word in known for word in said) / len(said) if said else 0.0


def label_preserved(judged: Judged) -> float | None:
    """The probability that the frozen classifier gives, for the response, to its label of the input; None without a classifier."""
    if judged.classifier is None or not judged.source:
        return None
    if not judged.response.strip():
        return 0.0
    label = int(np.argmax(judged.classifier.probabilities(judged.source)))
    return float(judged.classifier.probabilities(judged.response)[label])


def external(judged: Judged) -> float | None:
    """None: the score comes from your own function in `NodeScorer`, or it is not observed."""
    return None


def macro_f1(responses: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> float:
    """Unweighted mean of F1 over the labels that occur in the references or the responses, which is scikit-learn's default.

    Unlike there, a response that is no label of the task is not a further label: it counts as a miss of its reference only.
    Of several references, the one that was answered counts, else the first. So correct answers to all examples give 1.

    Args:
        references: [examples], the correct labels of each.

    Raises:
        ValueError: no examples.
    """
    from sklearn.metrics import f1_score

    answered, wanted = _answered(responses, references)
    occurring = {*answered, *wanted}
    known = [label for label in dict.fromkeys(map(_label, labels)) if label in occurring]
    return float(f1_score(wanted, answered, labels=known, average="macro", zero_division=0))


def macro_f1_without(
    responses: Sequence[str],
    references: Sequence[Sequence[str]],
    labels: Sequence[str],
    units: Sequence[Hashable],
) -> list[float]:
    """Macro-F1 without each unit in turn, over the labels that then still occur.

    Args:
        units: the unit of each example.

    Returns:
        A number per unit, in the order in which units first appear.
    """
    answered, wanted = _answered(responses, references)
    occurring = {*answered, *wanted}
    known = np.array([label for label in dict.fromkeys(map(_label, labels)) if label in occurring])
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    rows = np.array([numbers[unit] for unit in units])
    said, right = np.array(answered)[:, None] == known, np.array(wanted)[:, None] == known
    hits, counts = np.zeros((len(numbers), len(known))), np.zeros((len(numbers), len(known)))
    np.add.at(hits, rows, said & right)
    np.add.at(counts, rows, said.astype(float) + right)
    left_hits, left_counts = hits.sum(0) - hits, counts.sum(0) - counts
    total = (2 * left_hits / np.maximum(left_counts, 1)).sum(1)
    values: list[float] = (total / np.maximum((left_counts > 0).sum(1), 1)).tolist()
    return values


def _answered(responses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Normalised responses, and the reference that counts for each."""
    answered = [_label(response) for response in responses]
    allowed = [[_label(label) for label in mine] for mine in references]
    return answered, [said if said in mine else mine[0] for said, mine in zip(answered, allowed, strict=True)]


METRICS: dict[str, Callable[[Judged], float | None]] = {
    "accuracy": accuracy,
    "bleu": bleu,
    "entity_recall": entity_recall,
    "exact_match": exact_match,
    "external": external,
    "faithfulness": faithfulness,
    "format": format_,
    "judge": external,  # of a judge (`rag_graph.evaluation.judging`): alone a text has no mark
    "label_preserved": label_preserved,
    "length_band": length_band,
    "macro_f1": accuracy,  # of one episode; over a corpus `evaluate` uses `macro_f1`
    "rouge_1": rouge_1,
    "rouge_2": rouge_2,
    "rouge_l": rouge_l,
    "token_f1": token_f1,
}
"""Every metric a graph file may name."""
