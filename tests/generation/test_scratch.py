"""Models and tokenizers made from nothing."""

from __future__ import annotations

import torch

from rag_graph.config import ScratchConfig
from rag_graph.generation.scratch import EOS, PAD, make_model, make_tokenizer

SHAPE = ScratchConfig(vocab_size=300, hidden_size=32, num_layers=3, num_heads=2, intermediate_size=48, max_length=77)


def test_a_tokenizer_encodes_any_text() -> None:
    tokenizer = make_tokenizer(["the red kettle"] * 20, 300)
    assert tokenizer.convert_ids_to_tokens([0, 1]) == [PAD, EOS]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.padding_side) == (0, 1, "left")
    for text in ("the red kettle", "Ünseen — 日本"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids).strip() == text
    assert len(tokenizer("the red kettle")["input_ids"]) == 3, "words of its texts are one token each"


def test_a_model_has_the_shape_of_its_config_and_the_weights_of_the_seed() -> None:
    tokenizer = make_tokenizer(["the red kettle"] * 20, 300)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(make_model(SHAPE, tokenizer))
    first, again, other = (model.get_input_embeddings().weight for model in made)
    assert first.shape == (len(tokenizer), 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    config = made[0].config
    assert (config.num_hidden_layers, config.intermediate_size, config.max_position_embeddings) == (3, 48, 77)
    assert made[0].get_output_embeddings().weight is first, "tied"
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, 1, 0)
