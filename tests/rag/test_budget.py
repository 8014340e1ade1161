"""What of ranked passages fits into a budget: whole, cut at a sentence end, passed over; counted in the policy's tokens, in any script."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag_graph.rag.budget import EvidenceBudget, beginning, count_in_words
from rag_graph.records import ContextNode, Evidence


def piece(name: str, text: str, context: str = "notes", rank: int = 0) -> Evidence:
    return Evidence(ContextNode(name, context, "", text), 1.0, rank, {}, "why")


def letters(texts: Sequence[str]) -> list[int]:
    """A tokenizer with a token for every character."""
    return list(map(len, texts))


def shown(budget: EvidenceBudget, *pieces: Evidence, pinned: Sequence[Evidence] = (), apart: bool = False) -> list[str]:
    return [found.context.text for found in budget.fill(pinned, pieces, apart)]


def test_what_fits_is_shown_whole() -> None:
    budget = EvidenceBudget(6, 2, count_in_words)
    pieces = piece("a", "One two three."), piece("b", "Four five."), piece("c", "Six.")
    assert budget.fill((), pieces) == list(pieces[:2]), "no more pieces than asked for"


def test_a_passage_is_cut_at_a_sentence_end() -> None:
    budget = EvidenceBudget(7, 2, count_in_words)
    long = piece("a", "One two three. Four five. Six seven eight nine ten.")
    (found,) = budget.fill((), [long])
    assert found.context.text == "One two three. Four five."
    assert found.left_out == len(long.context.text) - len(found.context.text)
    assert found.reason == "why; cut to fit: the first 25 of 51 characters"
    assert (found.context.id, found.score) == ("a", 1.0)
    assert shown(budget, long, piece("b", "Eleven twelve thirteen."), piece("c", "Ok yes.")) == [
        "One two three. Four five.",
        "Ok yes.",
    ], "a passage whose first sentence does not fit gives way to the next"


@pytest.mark.parametrize(
    ("text", "room", "kept"),
    [
        ("奥斯陆是挪威的首都。也是最大的城市！真的吗？", 12, "奥斯陆是挪威的首都。"),
        ("هل هذا صحيح؟ نعم هذا صحيح.", 14, "هل هذا صحيح؟"),
        ("यह एक वाक्य है। दूसरा वाक्य है।", 20, "यह एक वाक्य है।"),
        ("東京は首都です。大きい。", 8, "東京は首都です。"),
        ("奥斯陆是挪威的首都。", 4, "奥斯陆是"),
        ("สวัสดีครับ", 5, "สวัส"),
        ("red kettle from oslo", 14, "red kettle"),
        ("redkettle from", 5, None),
    ],
)
def test_every_script_is_cut_by_tokens(text: str, room: int, kept: str | None) -> None:
    """At a sentence end; where not even a sentence fits and nothing else is there, at the end of a word."""
    budget = EvidenceBudget(room, 2, letters)
    assert shown(budget, piece("a", text)) == ([] if kept is None else [kept])


def test_a_word_end_is_for_prompts_with_room_to_spare() -> None:
    long, short = piece("a", "one two three four five six seven eight nine ten."), piece("b", "Ok yes.")
    assert shown(EvidenceBudget(3, 2, count_in_words), long) == ["one two three"], "or they would be empty"
    assert shown(EvidenceBudget(8, 2, count_in_words), long, short) == ["one two three four five six", "Ok yes."]
    wide = piece("b", "Ok yes it is so and so.")
    assert shown(EvidenceBudget(9, 2, count_in_words), long, wide) == ["Ok yes it is so and so."], "2 of 9 are left"


def test_exemplars_are_never_cut() -> None:
    budget = EvidenceBudget(4, 2, count_in_words, whole=["solved"])
    long = piece("a", "A text. Another one. sports", "solved")
    assert shown(budget, long) == []
    assert shown(budget, long, piece("b", "Short. world", "solved")) == ["Short. world"]


def test_guidelines_and_line_breaks_take_their_share() -> None:
    guide, first, second = piece("g", "be brief", "guide"), piece("a", "abcd."), piece("b", "efgh. ijkl.")
    assert shown(EvidenceBudget(19, 3, letters), first, second, pinned=[guide]) == ["abcd."], "8 + 1 + 5 + 1 leaves 4"
    budget = EvidenceBudget(20, 3, letters)
    assert shown(budget, first, second, pinned=[guide]) == ["abcd.", "efgh."]
    assert shown(budget, first, second, pinned=[guide], apart=True) == ["abcd.", "efgh. ijkl."], "a prompt for each"
    assert shown(EvidenceBudget(8, 3, letters), first, pinned=[guide]) == []


def test_a_piece_can_be_cut_twice() -> None:
    once = beginning(piece("a", "One. Two. Three."), 9)
    assert once is not None
    twice = beginning(once, 4)
    assert twice is not None
    assert (twice.context.text, twice.left_out) == ("One.", 12)
    assert twice.reason == "why; cut to fit: the first 4 of 16 characters"
    assert beginning(once, 0) is None
    assert beginning(piece("a", "One."), 4) == piece("a", "One.")
