"""Vocabularies shrink exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from rag_graph.config import ModelConfig
from rag_graph.errors import ModelError
from rag_graph.generation.language_model import load_language_model
from rag_graph.generation.vocabulary import trim_vocabulary


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


def test_what_a_token_is_made_of_stays(tiny_model: Any) -> None:
    """Rows of the embedding and of a head of its own move with their tokens; letters and special tokens always stay."""
    model, tokenizer = tiny_model(4)
    head = torch.nn.Linear(32, len(tokenizer), bias=False)
    model.set_output_embeddings(head)
    model.config.tie_word_embeddings = False
    embedding, weights = model.get_input_embeddings().weight.detach().clone(), head.weight.detach().clone()
    trimmed, small = trim_vocabulary(model, tokenizer, ["kettle"])
    names = small.convert_ids_to_tokens(list(range(len(small))))
    places = tokenizer.convert_tokens_to_ids(names)
    assert places == sorted(places), "the order of the tokens is kept"
    assert torch.equal(trimmed.get_input_embeddings().weight, embedding[places])
    assert torch.equal(trimmed.get_output_embeddings().weight, weights[places])
    assert set(tokenizer.all_special_tokens) | set(ByteLevel.alphabet()) <= set(names)
    assert len(names) < len(tokenizer)
    assert (small.eos_token, trimmed.config.eos_token_id) == (tokenizer.eos_token, small.eos_token_id)


def test_a_vocabulary_of_another_kind_is_refused(tiny_model: Any) -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, "<eos>": 1}, "a")), eos_token="<eos>")
    with pytest.raises(ModelError, match="only byte-level BPE vocabularies can be trimmed. Set trim_vocabulary: false"):
        trim_vocabulary(tiny_model(4)[0], words, [])
