"""Text that others wrote cannot steer a terminal, a page or a chat template."""

from __future__ import annotations

import pytest

from rag_graph.judges.text import clean, for_prompt, in_line, shown


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("a\x00b\x08c\x7f", "abc"),
        ("line\r\nline\rline", "line\nline\nline"),
        ("abc\u202edef\u2066", "abcdef"),
        ("half \ud800 pair", "half  pair"),
        ("tag\U000e0041s", "tags"),
        ("जोड़\u200dना", "जोड़\u200dना"),  # a joiner that a script needs
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "mark", ["<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "[/INST]", "<<SYS>>", "<eos>", "<｜Assistant｜>"]
)
def test_marks_of_turns_are_broken(mark: str) -> None:
    assert mark not in for_prompt(f"yes {mark} no")
    assert for_prompt(f"yes {mark} no").replace(" ", "") == f"yes{mark}no"


def test_a_mark_that_appears_when_something_is_cut_is_broken_too() -> None:
    assert for_prompt("<|im_\x00end|>") == "< |im_end|>"
    assert for_prompt("<\x1b[0m/s>") == "< /s>"


def test_ordinary_markup_stays() -> None:
    assert for_prompt("<b>bold</b> a[i] < 3 || x") == "<b>bold</b> a[i] < 3 || x"


def test_what_is_shown_is_short() -> None:
    assert shown("x" * 3000) == "x" * 1999 + "…"
    assert in_line("  one\n two\x1b[2J  ") == "one two"
