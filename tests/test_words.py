"""Words of any script, and short answers as they are compared."""

from __future__ import annotations

import re
import string
import unicodedata
from fractions import Fraction

import bm25s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_graph.words import answer_words, count_words, folded, normalise, number, words, written_words

ASCII = st.text(st.sampled_from(string.printable), max_size=40)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("English", "Don't  PANIC, it's snake_case 3.14!", ["don", "t", "panic", "it", "s", "snake_case", "3", "14"]),
        ("German", "Die Straße nach Köln", ["die", "strasse", "nach", "köln"]),
        ("Turkish", "İstanbul'da ılık", ["istanbul", "da", "ılık"]),
        ("Russian", "Осло — столица", ["осло", "столица"]),
        ("Greek", "ΟΔΟΣ οδός", ["οδοσ", "οδόσ"]),
        ("Arabic", "أوسلو، عاصمة", ["أوسلو", "عاصمة"]),
        ("Persian, with a joiner in the word", "می‌خواهم", ["می‌خواهم"]),
        ("Hindi: vowel signs belong to their letters", "राजधानी है।", ["राजधानी", "है"]),
        ("Korean", "오슬로는 수도", ["오슬로는", "수도"]),
        ("Chinese", "奥斯陆 是Oslo。", ["奥", "斯", "陆", "是", "oslo"]),
        ("Japanese", "オスローは首都", ["オ", "ス", "ロ", "ー", "は", "首", "都"]),
        ("Japanese, half-width", "ｵｽﾛ", ["オ", "ス", "ロ"]),
        ("Thai: marks belong to their letters", "เมือง", ["เ", "มื", "อ", "ง"]),
        ("emoji: one each, with their modifiers", "great 👍🏽 👨‍👩‍👧🇳🇴", ["great", "👍🏽", "👨‍👩‍👧", "🇳🇴"]),
        ("nothing to say", " ... — !", []),
    ],
)
def test_words(language: str, text: str, expected: list[str]) -> None:
    assert words(text) == expected, language


def test_scripts_without_spaces_in_pairs() -> None:
    assert words("奥斯陆是Oslo的首都 大", pairs=True) == ["奥斯", "斯陆", "陆是", "oslo", "的首", "首都", "大"]
    assert words("plain words", pairs=True) == ["plain", "words"]


@given(ASCII)
def test_words_of_ascii_text_are_those_of_bm25s(text: str) -> None:
    (expected,) = bm25s.tokenize(
        [text], stopwords=None, token_pattern=r"(?u)\b\w+\b", show_progress=False, return_ids=False
    )
    assert words(text) == expected


@given(st.text(max_size=30))
def test_forms_and_cases_do_not_matter(text: str) -> None:
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text)
        assert words(other) == words(unicodedata.normalize("NFC", text))
        assert count_words(other) == count_words(unicodedata.normalize("NFC", text))
    assert [folded(word) for word in written_words("São Straße ΟΔΟΣ")] == words("SÃO STRASSE οδος")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0), ("it's - here", 3), ("café au lait", 3), ("奥斯陆是挪威的首都。", 9), ("我爱 Oslo 2", 4), ("नमस्ते दुनिया", 2),
        ("オスロ", 3), ("오슬로는 수도", 2),
    ],
)  # fmt: skip
def test_length_in_words(text: str, expected: int) -> None:
    assert count_words(text) == expected


# ---------------------------------------------------------------------- answers


def squad(text: str) -> str:
    """normalize_answer of the SQuAD v1.1 evaluation script."""
    bare = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


@given(
    st.lists(
        st.sampled_from(["The", "a", "cat", "sat,", "(on)", "don't", "x-ray", "U.S.", "12", "$7", "7%", "mat."]),
        max_size=8,
    )
)
def test_english_answers_are_normalised_as_by_the_squad_script(pieces: list[str]) -> None:
    text = " ".join(pieces)
    assert normalise(text) == (squad(text) or " ".join(text.lower().split()))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("", "A", False), ("the", "A", False), ("A", "a", True), ("", "The The", False), ("", "+", False), ("?", "+", False),
        ("(A)", "A", True), ("12", "1/2", False), ("-5", "5", False), ("−5", "-5", True), ("314", "3.14", False), ("0.5", "1/2", True),
        ("½", "1/2", True), ("1½", "11/2", False), ("1,000", "1000", True), ("1.000.000", "1,000,000", True), ("1.234,5", "1,234.5", True),
        ("3,14", "3.14", True), ("5.0", "5", True), ("5.", "5", True), ("$5", "5", True), ("-$5", "-5", True), ("٥", "5", True),
        ("the 5", "5.0", True), ("5 apples", "5.0 apples", True), ("-5 degrees", "5 degrees", False),
        ("don’t “go”", 'don\'t "go"', True), ("São Tomé", unicodedata.normalize("NFD", "São Tomé"), True), ("STRASSE", "Straße", True),
        ("奥斯陆。", "奥斯陆", True), ("ＯＳＬＯ", "oslo", True), ("أوسلو،", "أوسلو", True), ("है।", "है", True), ("👍🏽", "👍🏽", True), ("👍", "", False),
    ],
)  # fmt: skip
def test_equal_answers(one: str, other: str, same: bool) -> None:
    assert (normalise(one) == normalise(other)) is same, (normalise(one), normalise(other))


@given(st.text(min_size=1, max_size=12))
def test_silence_is_equal_to_silence_only(text: str) -> None:
    assert bool(normalise(text)) == bool(text.split()) or not folded(text).split()


@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=99))
def test_numbers_keep_their_value(value: Fraction) -> None:
    assert number(f"{value.numerator}/{value.denominator}") == value
    assert number(f"{value.numerator:,}") == value.numerator
    assert number(f"{value.numerator}.{abs(value.numerator) % 100:02d}") == Fraction(
        f"{value.numerator}.{abs(value.numerator) % 100:02d}"
    )


@pytest.mark.parametrize("text", ["", "x", "1-2", "1.2.3", "10:30", "v2", "1,2,3", "2020-05-01", "1" * 200, "+", "."])
def test_what_is_no_number(text: str) -> None:
    assert number(text) is None


def test_words_of_answers() -> None:
    assert answer_words("The U.S. won 1,000 medals") == ["us", "won", "1000", "medals"]
    assert answer_words("答案是 Oslo。") == ["答", "案", "是", "oslo"]


@pytest.mark.parametrize(
    ("one", "other"), [("3:2", "32"), ("10:30", "1030"), ("2-1", "21"), ("1.2.3", "123"), ("1/0", "10"), ("٣:٢", "32")]
)
def test_a_mark_between_digits_counts(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    assert normalise(f"({one}).") == normalise(one)
