"""Words as BM25 counts them: those of `rag_graph.words`, brought to their stems by the Snowball stemmer of the passages' language.

A pool has one language. Words of other scripts stay as they are under its stemmer, and so do all words where the language has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from rag_graph.errors import ConfigError, need
from rag_graph.retrieval_methods import AUTO, LANGUAGES, UNSTEMMED, stemmed_language
from rag_graph.words import words

T = TypeVar("T")
SAMPLE, LENGTH = 100, 400
"""Texts, spread evenly over a pool, and characters of each, from which its language is found."""
SURE = 0.5
"""Probability of a language from which it is taken. Below, no word is stemmed."""


@dataclass(frozen=True, slots=True)
class Stems:
    """Texts to stems.

    language: the name of a Snowball stemmer, or "none".
    """

    language: str

    @classmethod
    def of(cls, language: str, texts: Sequence[str]) -> Stems:
        """
        Args:
            language: the name or ISO 639-1 code of a language, "none", or "auto": the language of `texts`.

        Raises:
            ConfigError: there is no stemmer of that name.
        """
        try:
            found = stemmed_language(language)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return cls(language_of(texts) if found == AUTO else found)

    def __call__(self, text: str) -> list[str]:
        """The stems of the words of a text, in order, with repetitions; in scripts without spaces overlapping pairs of characters."""
        return self.of_words(words(text, pairs=True))

    def of_words(self, found: Sequence[str]) -> list[str]:
        """Words, as `rag_graph.words` gives them, to stems."""
        if self.language == UNSTEMMED:
            return list(found)
        stems: list[str] = _stemmer(self.language).stemWords(found)
        return stems

    def lists(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The stems of each text."""
        return map(self, texts)


def language_of(texts: Sequence[str]) -> str:
    """The name of the stemmer for the language that most of the texts are in; "none" where it has no stemmer, or is not clear.

    Each text has a vote. Where none has more than half, for texts may be short, the language of all together is taken.
    """
    need("retrieval.language 'auto'", "py3langid")
    sample = [text[:LENGTH] for text in spread(texts)]
    votes = Counter(code for code, probability in map(_identifier().classify, sample) if probability >= SURE)
    code, number = votes.most_common(1)[0] if votes else ("", 0)
    if 2 * number <= len(sample):
        code, probability = _identifier().classify(" ".join(sample))
        code = code if probability >= SURE else ""
    return LANGUAGES.get(code, UNSTEMMED)


def spread(items: Sequence[T]) -> Sequence[T]:
    """At most 100 of them, evenly spaced."""
    return items[:: max(1, len(items) // SAMPLE)][:SAMPLE]


@cache
def _stemmer(language: str) -> Any:
    need("stems of words", "Stemmer")
    import Stemmer

    return Stemmer.Stemmer(language, 0)  # looking words up in its cache takes longer than their stems


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
