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


def test_they_come_back_where_memory_ends_in_the_middle(
    tiny_model: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = tiny_model(1)
    model.requires_grad_(False)
    types = iter([torch.bfloat16, torch.bfloat16])
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: next(types))  # fails at the third weight
    with pytest.raises(RuntimeError, match="StopIteration"):
        cast_once_under_autocast(model)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_dora_takes_the_norm_of_its_weight_so_its_models_stay(tiny_model: Callable[[int], Any]) -> None:
    from peft import LoraConfig, get_peft_model

    model, _ = tiny_model(1)
    adapted = get_peft_model(model, LoraConfig(use_dora=True, r=2, target_modules=["q_proj"])).eval()
    assert torch.equal(logits(adapted, once=True), logits(adapted, once=False))


def cast_once_under_autocast(model: Any) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), cast_once(model):
        pass


def test_without_autocast_nothing_is_cast(tiny_model: Callable[[int], Any]) -> None:
    model, _ = tiny_model(1)
    model.requires_grad_(False)
    with cast_once(model):
        assert model.lm_head.weight.dtype == torch.float32
