"""Vocabularies shrink exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rag_graph.config import ModelConfig
from rag_graph.generation.language_model import load_language_model


def test_trimming_keeps_ids_of_the_corpus_and_its_logits(tiny_model: Any, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(4)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    corpus = ["the red kettle", "where is it ?"]
    trimmed, small = load_language_model(
        ModelConfig(source=str(tmp_path), max_prompt_tokens=100, trim_vocabulary=True), corpus
    )
    assert len(small) < len(tokenizer)
    for text in corpus:
        before, after = (
            tokenizer(text, add_special_tokens=False)["input_ids"],
            small(text, add_special_tokens=False)["input_ids"],
        )
        assert tokenizer.convert_ids_to_tokens(before) == small.convert_ids_to_tokens(after)
        kept = [
            tokenizer.convert_tokens_to_ids(token) for token in small.convert_ids_to_tokens(list(range(len(small))))
        ]
        with torch.no_grad():
            assert torch.allclose(
                model(torch.tensor([before])).logits[..., kept], trimmed(torch.tensor([after])).logits, atol=1e-5
            )
    assert small.decode(small("ümlaut!", add_special_tokens=False)["input_ids"]).strip() == "ümlaut!", (
        "any other text still encodes"
    )
