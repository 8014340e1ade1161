"""Frozen weights that are cast once give what autocast gives, and come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rag_graph.generation.half_weights import cast_once


def logits(model: Any, once: bool) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        if not once:
            return model(input_ids=ids).logits
        with cast_once(model):
            return model(input_ids=ids).logits


def test_the_results_are_the_same_to_the_bit(family: str, family_model: Callable[[str], Any]) -> None:
    model = family_model(family).eval().requires_grad_(False)
    assert torch.equal(logits(model, once=True), logits(model, once=False))


def test_weights_come_back_whatever_happens(tiny_model: Callable[[int], Any]) -> None:
    model, _ = tiny_model(1)
    model.requires_grad_(False)
    trained = model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    own = dict(model.named_parameters(remove_duplicate=False))

    def stopped_inside() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16), cast_once(model):
            assert model.lm_head.weight.dtype == torch.bfloat16
            assert model.model.embed_tokens.weight.dtype == torch.float32, "an embedding is no product"
            assert model.model.layers[0].mlp.up_proj.weight is trained
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_inside()
    for name, weight in model.named_parameters(remove_duplicate=False):
        assert weight is own[name]
    assert not model.lm_head.weight.requires_grad


def test_without_autocast_nothing_is_cast(tiny_model: Callable[[int], Any]) -> None:
    model, _ = tiny_model(1)
    model.requires_grad_(False)
    with cast_once(model):
        assert model.lm_head.weight.dtype == torch.float32
