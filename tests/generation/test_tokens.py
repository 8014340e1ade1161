"""Prompts as token ids: begin tokens, the cut on the left, padding."""

from __future__ import annotations

from typing import Any

from tokenizers import pre_tokenizers

from rag_graph.generation.generate import generate_texts
from rag_graph.generation.scratch import make_tokenizer
from rag_graph.generation.tokens import answer_ids, encode_prompts, pad_left


def test_padding_is_on_the_left() -> None:
    ids, mask = pad_left([[5, 6], [7]], pad_id=0)
    assert ids.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[1, 1], [0, 1]]


def test_long_prompts_lose_their_left_end(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double()
    long = "blue " * 40 + "the red kettle"
    assert generate_texts(model, tokenizer, [long], 4, 3) == generate_texts(model, tokenizer, [" the red kettle"], 4, 3)


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
    assert encode_prompts(wrapped, ["red blue green"], 3) == [[begin, *plain[-2:]]]
    assert encode_prompts(wrapped, ["red blue green"], 50, templated=True) == [plain]


def test_an_answer_follows_its_prompt_and_ends() -> None:
    """The tokenizer writes a space before a first word, so the answer needs none of its own."""
    tokenizer = make_tokenizer(["red blue green"] * 20, 300)
    ids = answer_ids(tokenizer, "blue")
    assert ids == [*tokenizer(["blue"], add_special_tokens=False)["input_ids"][0], tokenizer.eos_token_id]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spaced = answer_ids(tokenizer, "blue")
    assert tokenizer.decode(spaced[:-1]) == " blue"


def test_a_prompt_is_cut_on_the_left_and_never_empty() -> None:
    tokenizer = make_tokenizer(["red blue green"] * 20, 300)
    (whole,) = tokenizer(["red blue green"], add_special_tokens=False)["input_ids"]
    for room in range(1, len(whole) + 2):
        assert encode_prompts(tokenizer, ["red blue green"], room) == [whole[-room:]]
    assert encode_prompts(tokenizer, [""], 5) == [[tokenizer.eos_token_id]]
