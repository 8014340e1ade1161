"""Prompts as token ids: begin tokens, the cut on the left, padding."""

from __future__ import annotations

from typing import Any

from rag_graph.generation.generate import generate_texts
from rag_graph.generation.scratch import make_tokenizer
from rag_graph.generation.tokens import encode_prompts, pad_left


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
