"""Prompts as token ids: begin tokens, the cut in the middle, padding."""

from __future__ import annotations

from typing import Any

from tokenizers import pre_tokenizers

from rag_graph.generation.generate import generate_texts
from rag_graph.generation.scratch import make_tokenizer
from rag_graph.generation.tokens import answer_ids, encode_fitting, encode_prompts, pad_left, token_room


def test_padding_is_on_the_left() -> None:
    ids, mask = pad_left([[5, 6], [7]], pad_id=0)
    assert ids.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[1, 1], [0, 1]]


def test_long_prompts_lose_their_middle(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double()
    long = "where is the red kettle ? " + "blue " * 40 + "the red kettle"
    (ids,) = encode_prompts(tokenizer, [long], 12)
    shown = tokenizer.decode(ids).strip()
    assert shown == "where is the ... the red kettle"
    assert len(ids) <= 12
    assert generate_texts(model, tokenizer, [long], 4, 12) == generate_texts(model, tokenizer, [shown], 4, 50)
    found = encode_fitting(tokenizer, ["red", long], 12)
    assert found.cut == [False, True]


def test_the_room_of_prompts_counts_what_is_encoded(tiny_model: Any) -> None:
    _, tokenizer = tiny_model(4)
    room = token_room(tokenizer, 12)
    texts = ["red", "where is the red kettle ?", "奥斯陆是首都"]
    assert room.count(texts) == [len(ids) for ids in encode_prompts(tokenizer, texts, 1000)]
    assert room.count(texts)[2] > 6, "tokens, not words"
    assert room.most == 12
    assert room.count([]) == []


def test_the_begin_token_is_kept() -> None:
    tokenizer = make_tokenizer(["red blue green"] * 20, 300)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    begin = tokenizer.bos_token_id
    assert begin is not None

    class WithBegin:
        bos_token_id, eos_token_id = begin, tokenizer.eos_token_id

        def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
            plain = tokenizer(texts, add_special_tokens=False)["input_ids"]
            return {"input_ids": [[begin, *ids] if add_special_tokens else ids for ids in plain]}

    wrapped: Any = WithBegin()
    (plain,) = tokenizer(["red blue green"], add_special_tokens=False)["input_ids"]
    assert encode_prompts(wrapped, ["red blue green"], 50) == [[begin, *plain]]
    assert encode_prompts(wrapped, ["red blue green"], 3) == [[begin, plain[0], plain[-1]]]
    assert encode_fitting(wrapped, ["red blue green"], 50, templated=True).ids == [plain]


def test_an_answer_follows_its_prompt_and_ends() -> None:
    """The tokenizer writes a space before a first word, so the answer needs none of its own."""
    tokenizer = make_tokenizer(["red blue green"] * 20, 300)
    ids = answer_ids(tokenizer, ["blue"])[0]
    assert ids == [*tokenizer(["blue"], add_special_tokens=False)["input_ids"][0], tokenizer.eos_token_id]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spaced = answer_ids(tokenizer, ["blue"])[0]
    assert tokenizer.decode(spaced[:-1]) == " blue"


def test_a_prompt_that_is_all_too_long_keeps_its_ends_and_is_never_empty() -> None:
    tokenizer = make_tokenizer(["red blue green"] * 20, 300)
    (whole,) = tokenizer(["red blue green"], add_special_tokens=False)["input_ids"]
    assert len(whole) == 3
    for room, kept in ((1, whole[-1:]), (2, [whole[0], whole[2]]), (3, whole), (4, whole)):
        assert encode_prompts(tokenizer, ["red blue green"], room) == [kept]
    assert encode_prompts(tokenizer, [""], 5) == [[tokenizer.eos_token_id]]
