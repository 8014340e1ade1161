"""The cache with room gives what transformers' own gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from rag_graph.generation.kv_cache import ROOM, GrowingLayer, new_cache


def test_keys_are_appended_dropped_and_appended_again() -> None:
    torch.manual_seed(0)
    ours, theirs = GrowingLayer(), DynamicCache()
    for step, length in enumerate([ROOM - 2, 1, 1, 1, ROOM, 1]):
        keys, values = torch.rand(2, 3, 2, length, 4)
        if step >= 3:  # after rows were dropped
            keys, values = keys[:2], values[:2]
        found, expected = ours.update(keys, values), theirs.update(keys, values, 0)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert ours.get_seq_length() == theirs.get_seq_length()
        if step == 2:
            for cache in (ours, theirs):
                cache.batch_select_indices(torch.tensor([2, 0]))


def test_a_step_copies_nothing_that_is_there() -> None:
    layer = GrowingLayer()
    keys, _ = layer.update(*torch.rand(2, 1, 1, ROOM - 1, 4))
    longer, _ = layer.update(*torch.rand(2, 1, 1, 1, 4))
    assert longer.data_ptr() == keys.data_ptr()


def test_earlier_results_stay() -> None:
    """Who holds an earlier result sees it unchanged."""
    layer = GrowingLayer()
    keys, values = layer.update(*torch.rand(2, 1, 1, 3, 4))
    before = keys.clone()
    layer.update(*torch.rand(2, 1, 1, 2, 4))
    assert torch.equal(keys, before)
    assert values.shape[-2] == 3


def test_every_family_reads_on_from_it(family: str, family_model: Callable[[str], Any]) -> None:
    model = family_model(family).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])
    with torch.no_grad():
        whole = model(input_ids=ids, use_cache=False).logits[:, -1]
        for cache in (new_cache(model), DynamicCache(config=model.config)):
            model(input_ids=ids[:, :3], past_key_values=cache, use_cache=True)
            for place in (3, 4):
                step = model(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True).logits[:, -1]
            assert torch.allclose(step, whole, atol=1e-5)
