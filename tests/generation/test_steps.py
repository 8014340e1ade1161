"""Which models can be decoded step by step, with rows that leave the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rag_graph.generation.generate import generate_texts
from rag_graph.generation.steps import decodes_step_by_step


def test_models_whose_caches_know_no_rows_are_left_to_transformers(tiny_model: Callable[[int], Any]) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    _, tokenizer = tiny_model(1)
    torch.manual_seed(0)
    mamba: Any = MambaForCausalLM(MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2, state_size=4)).eval()
    assert not decodes_step_by_step(mamba)
    assert len(generate_texts(mamba, tokenizer, ["red", "blue kettle"], 4, 20)) == 2


def test_every_family_keeps_rows_in_its_cache(family: str, family_model: Callable[[str], Any]) -> None:
    assert decodes_step_by_step(family_model(family).eval())
