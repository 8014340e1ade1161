"""Where a source lies, and a pad token that ends no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_graph.config import ModelConfig
from rag_graph.generation.end_tokens import declare_end_tokens, end_token_ids
from rag_graph.generation.language_model import load_language_model


def test_a_pad_token_that_ends_answers_is_set_apart(
    make_chat_tokenizer: Callable[..., Any], make_llama: Any, tmp_path: Path
) -> None:
    """As Qwen has it: documents end with the token that also pads."""
    tokenizer = make_chat_tokenizer()
    tokenizer.eos_token, tokenizer.pad_token = "<end>", "<eos>"
    model = make_llama(tokenizer)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    declare_end_tokens(model, tokenizer, ends)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, own = load_language_model(ModelConfig(source=str(tmp_path), max_prompt_tokens=60))
    assert list(end_token_ids(loaded, own)) == ends
    assert own.pad_token_id not in ends
