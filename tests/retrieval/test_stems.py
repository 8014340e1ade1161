"""Stems of words in many languages, and the language that a pool is in."""

from __future__ import annotations

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from rag_graph.errors import ConfigError
from rag_graph.records import ContextNode
from rag_graph.retrieval.index import PassageIndex
from rag_graph.retrieval.stems import Stems, language_of, spread
from rag_graph.retrieval_methods import LANGUAGES
from rag_graph.words import words

MIXED = {
    "en": "The rivers of England are long and wide.",
    "de": "Straßenbahnen fahren in der Stadt durch die Straßen.",
    "ru": "Москва является столицей России.",
    "tr": "Ankara Türkiye'nin başkentidir, kitapları okuyorum.",
    "zh": "挪威的首都是奥斯陆。",
}

NORWAY = {
    "en": ("Oslo is the capital of Norway. The city lies at the end of a fjord.", "cities", "city"),
    "de": ("Oslo ist die Hauptstadt von Norwegen. Die Stadt liegt am Ende eines Fjords.", "Städten", "STADT"),
    "fr": ("Oslo est la capitale de la Norvège. La ville se trouve au fond d'un fjord.", "villes", "ville"),
    "ru": ("Осло — столица Норвегии. Город лежит в конце фьорда.", "города", "город"),
    "tr": ("Oslo, Norveç'in başkentidir. Şehir bir fiyordun ucunda yer alır.", "şehirler", "Şehir"),
    "ar": ("أوسلو هي عاصمة النرويج وأكبر مدنها.", "العاصمة", "عاصمة"),
    "hi": ("ओस्लो नॉर्वे की राजधानी है और सबसे बड़ा नगर है।", "नगरों", "नगर"),
}


@pytest.mark.parametrize("code", NORWAY)
def test_the_language_is_found_from_the_passages_and_forms_of_a_word_meet(code: str) -> None:
    text, form, other = NORWAY[code]
    stems = Stems.of("auto", [text] * 3)
    assert stems.language == LANGUAGES[code]
    assert stems(form) == stems(other) != []
    assert words(form) != words(other)
    assert Stems.of(code.upper(), []) == Stems.of(LANGUAGES[code], []) == stems, "a code or a name says the same"


@pytest.mark.parametrize(
    "text", ["奥斯陆是挪威的首都。这座城市位于峡湾的尽头。", "オスロはノルウェーの首都である。", "ออสโลเป็นเมืองหลวงของประเทศนอร์เวย์", "오슬로는 노르웨이의 수도이다.", "אוסלו היא בירת נורווגיה", "w17 w3 w99", ""]
)  # fmt: skip
def test_without_a_stemmer_words_stay(text: str) -> None:
    stems = Stems.of("auto", [text])
    assert stems.language == "none"
    assert stems(text) == words(text, pairs=True)


@pytest.mark.parametrize("language", sorted(LANGUAGES.values()))
def test_words_of_other_scripts_stay_under_any_stemmer(language: str) -> None:
    text = "奥斯陆 オスロ เมือง 오슬로는 👍🏽 תל"
    if language == "yiddish":
        text = text[:-3]
    assert Stems(language)(text) == words(text, pairs=True)


@given(st.sampled_from(sorted(LANGUAGES.values())), st.text(max_size=30))
def test_there_are_as_many_stems_as_words(language: str, text: str) -> None:
    assert len(Stems(language)(text)) == len(words(text, pairs=True))


def test_every_language_has_its_stemmer() -> None:
    assert set(LANGUAGES.values()) <= set(Stemmer.algorithms())


def test_a_language_without_a_stemmer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"language 'englisch': no stemmer for it. Did you mean 'english'"):
        PassageIndex([ContextNode("a", "", "", "a text")], language="englisch")


def test_a_few_texts_of_another_language_do_not_matter() -> None:
    texts = [NORWAY["de" if place % 10 == 1 else "en"][0] for place in range(1000)]
    assert language_of(texts) == "english"
    assert [len(spread(range(size))) for size in (0, 7, 100, 199, 1000)] == [0, 7, 100, 100, 100]
    assert list(spread(range(1000)))[-1] == 990


@pytest.mark.parametrize(("most", "fewer"), [("en", "de"), ("de", "en"), ("en", "ru"), ("en", "tr"), ("de", "ru")])
def test_of_two_languages_that_of_most_texts_is_taken(most: str, fewer: str) -> None:
    """One text made of all of them has no such majority: there, rare letters of the smaller part may decide."""
    assert language_of([MIXED[most]] * 60 + [MIXED[fewer]] * 40) == LANGUAGES[most]
    assert language_of([MIXED["zh"]] * 60 + [MIXED[fewer]] * 40) == "none", "Chinese has no stemmer"


def test_links_by_title_are_word_for_word_also_where_passages_come_later() -> None:
    """The counts of stems only say which texts to read: "rivers" has the stem of a title, and does not name it."""
    old = [ContextNode("a", "", "", "The Great River flows."), ContextNode("b", "", "", "The Great Rivers flow.")]
    new = [ContextNode("c", "", "Great River", "It flows.")]
    grown = PassageIndex(old, language="en")
    grown.add(new)
    made = PassageIndex([*old, *new], language="en")
    assert grown.links.ends.tolist() == made.links.ends.tolist() == [[0, 2]]
