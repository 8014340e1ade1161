"""Ends of sentences and words in many scripts, and texts that are made shorter there."""

from __future__ import annotations

import pytest

from rag_graph.sentences import last_fitting, parts, sentence_ends, without_middle, word_ends


def split(text: str, ends: list[int]) -> list[str]:
    return [text[start:end].strip() for start, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Oslo is a city. It has 3.5 parks.", ["Oslo is a city.", "It has 3.5 parks."]),
        ('He said "Stop!" and left. (Really?) Yes', ['He said "Stop!"', "and left.", "(Really?)", "Yes"]),
        ("The U.S. is big, e.g. wide. So!", ["The U.S. is big, e.g. wide.", "So!"]),
        ("奥斯陆是首都。真的吗？是！「好。」他说。", ["奥斯陆是首都。", "真的吗？", "是！", "「好。」", "他说。"]),
        ("東京は首都です。大きい。", ["東京は首都です。", "大きい。"]),
        ("هل هذا صحيح؟ نعم.", ["هل هذا صحيح؟", "نعم."]),
        ("یہ درست ہے۔ ہاں۔", ["یہ درست ہے۔", "ہاں۔"]),
        ("यह एक है। दूसरा॥ तीन", ["यह एक है।", "दूसरा॥", "तीन"]),
        ("서울은 수도이다. 크다.", ["서울은 수도이다.", "크다."]),
        ("Город. Большой! Да?", ["Город.", "Большой!", "Да?"]),
        ("ሰላም። እንዴት ነህ፧", ["ሰላም።", "እንዴት ነህ፧"]),
        ("the city is big . it is 3.5 km . so", ["the city is big .", "it is 3.5 km .", "so"]),
        ("one\ntwo\r\nthree", ["one", "two", "three"]),
        ("no end", ["no end"]),
    ],
)
def test_sentences_end_by_unicodes_rules(text: str, sentences: list[str]) -> None:
    assert split(text, sentence_ends(text)) == sentences


def test_nothing_has_no_ends() -> None:
    for text in ("", " \n "):
        assert sentence_ends(text) == []
        assert word_ends(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a well-known city, 3.5 km (by car)", ["a", "well-known", "city,", "3.5", "km", "(by", "car)"]),
        ("我是「好」人。ok", ["我", "是", "「好", "」", "人", "。", "ok"]),
        ("สวัสดี ครับ", ["ส", "วั", "ส", "ดี", "ค", "รั", "บ"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("cafe\u0301 is", ["cafe\u0301", "is"]),
    ],
)
def test_words_end_at_spaces_and_between_signs_without_spaces(text: str, found: list[str]) -> None:
    assert split(text, word_ends(text)) == found


def test_the_last_position_that_fits() -> None:
    asked: list[int] = []

    def fits(position: int) -> bool:
        asked.append(position)
        return position <= 23

    ends = list(range(5, 5000, 5))
    assert last_fitting(ends, fits) == 20
    assert max(asked) <= 40, "a long text is not looked at beyond about twice what fits"
    for most in range(0, 40):
        assert last_fitting([5, 10, 20], lambda end, most=most: end <= most) == max(
            [end for end in (5, 10, 20) if end <= most], default=0
        )
    assert last_fitting([], fits) == 0


def test_parts_are_sentences_else_words_else_characters() -> None:
    text = "One two. Three four five. Supercalifragilistic x. ok"
    found = parts(text, lambda start, end: end - start <= 10)
    assert found == ["One two.", "Three four", "five.", "Supercalif", "ragilistic", "x. ok"]
    assert "".join(found) == text.replace(". ", ".").replace("four five", "fourfive").replace("x.ok", "x. ok").replace(
        "istic x", "isticx"
    )
    assert parts("奥斯陆是首都。真的。", lambda start, end: end - start <= 4) == ["奥斯陆是", "首都。", "真的。"]
    assert parts("ab", lambda start, end: False) == ["a", "b"]
    assert parts("  ", lambda start, end: True) == []


def test_the_middle_goes_first() -> None:
    text = "who won the cup in oslo ?"
    assert without_middle(text, lambda shown: len(shown.split()) <= 7) == text
    assert without_middle(text, lambda shown: len(shown.split()) <= 5) == "who won ... oslo ?"
    assert without_middle(text, lambda shown: len(shown.split()) <= 4) == "who ... oslo ?"
    assert without_middle(text, lambda shown: len(shown.split()) <= 2) == "", "a word on either side"
    assert without_middle("acgtacgtacgt", lambda shown: len(shown) <= 9) == ""
    assert without_middle("acgtacgtacgt", lambda shown: len(shown) <= 9, "character") == "ac ... gt"
    assert without_middle(text, lambda shown: shown == "") == ""
    assert without_middle("奥斯陆是首都", lambda shown: len(shown) <= 9) == "奥斯陆是首都"
    signs = without_middle("奥斯陆是首都", lambda shown: sum(sign not in ". " for sign in shown) <= 4)
    assert signs == "奥斯 ... 首都"
