"""Batched generation: batches and padding change nothing, greedy decoding by hand."""

from __future__ import annotations

from typing import Any

import torch

from rag_graph.config import ModelConfig
from rag_graph.generation.generate import Response, Writer, decode_response, generate_texts

# Models whose tokens are compared are float64: no rounding decides between two tokens, on whatever processor.
PROMPTS = ["the red kettle", "where", "a blue mixer from oslo is good", "it"]


def test_generation_keeps_order_and_ignores_padding(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double()
    together = generate_texts(model, tokenizer, PROMPTS, 6, 50, batch_size=4)
    alone = [generate_texts(model, tokenizer, [prompt], 6, 50)[0] for prompt in PROMPTS]
    assert together == alone
    assert generate_texts(model, tokenizer, PROMPTS, 6, 50, batch_size=3) == together
    assert generate_texts(model, tokenizer, [], 6, 50) == []


def test_greedy_generation_equals_argmax_by_hand(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double()
    ids = tokenizer("the red kettle", add_special_tokens=False)["input_ids"]
    written: list[int] = []
    for _ in range(6):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + written])).logits[0, -1].argmax())
        written.append(token)
        if token == tokenizer.eos_token_id:
            break
    expected = tokenizer.decode([t for t in written if t != tokenizer.eos_token_id], skip_special_tokens=True).strip()
    (found,) = generate_texts(model, tokenizer, ["the red kettle"], 6, 50)
    assert found.text == expected
    assert found.truncated == (written[-1] != tokenizer.eos_token_id)


def test_text_ends_at_the_first_end_token(tiny_model: Any) -> None:
    tokenizer = tiny_model(4)[1]
    ids = tokenizer("the red kettle", add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    assert decode_response(tokenizer, [*ids, end], {end}) == Response("the red kettle", False)
    assert decode_response(tokenizer, [*ids, end, *ids], {end}) == Response("the red kettle", False)
    assert decode_response(tokenizer, ids, {end}) == Response("the red kettle", True)


def test_one_passage_of_weight_one_is_plain_generation(tiny_model: Any) -> None:
    model, tokenizer = tiny_model(4)
    model.double().train()
    write = Writer(model, tokenizer, ModelConfig(max_new_tokens=6, max_prompt_tokens=50), batch_size=4)
    fused = write.fuse([[prompt] for prompt in PROMPTS], [[1.0]] * len(PROMPTS), "rag_token")
    assert fused == write(PROMPTS) == generate_texts(model, tokenizer, PROMPTS, 6, 50)
    assert write.fuse([], [], "rag_sequence") == []
    assert model.training, "the mode of the model is put back"
