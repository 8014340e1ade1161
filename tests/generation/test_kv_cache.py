"""The cache with room gives what transformers' own gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

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


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.batch_select_indices(torch.tensor([2, 0])),
        lambda cache: cache.batch_repeat_interleave(2),
        lambda cache: cache.reorder_cache(torch.tensor([1, 1, 0])),
        lambda cache: cache.crop(-2),
        lambda cache: cache.reset(),
    ],
)
def test_whatever_changes_the_cache_it_goes_on_like_transformers_own(change: Callable[[Any], object]) -> None:
    torch.manual_seed(0)
    ours, theirs = GrowingLayer(), DynamicLayer()
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    keys = torch.rand(2, 3, 2, 5, 4)
    for cache in (ours, theirs):
        cache.update(*keys)
        change(cache)
        rows = 3 if cache.keys is None else len(cache.keys)
        step = torch.rand(2, rows, 2, 1, 4, generator=torch.Generator().manual_seed(1))
        found.append(cache.update(*step))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_rows_that_were_dropped_hold_no_memory() -> None:
    layer = GrowingLayer()
    layer.update(*torch.rand(2, 8, 1, 3, 4))
    layer.batch_select_indices(torch.tensor([0]))
    assert layer._rooms is None


def test_a_view_of_the_first_rows_is_not_taken_for_all() -> None:
    layer = GrowingLayer()
    layer.update(*torch.rand(2, 3, 1, 3, 4))
    layer.keys, layer.values = layer.keys[:1], layer.values[:1]
    assert layer.update(*torch.rand(2, 1, 1, 1, 4))[0].shape == (1, 1, 4, 4)


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
    model = family_model(family).double().eval()
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])
    with torch.no_grad():
        whole = model(input_ids=ids, use_cache=False).logits[:, -1]
        for cache in (new_cache(model), DynamicCache(config=model.config)):
            model(input_ids=ids[:, :3], past_key_values=cache, use_cache=True)
            for place in (3, 4):
                step = model(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True).logits[:, -1]
            assert torch.allclose(step, whole, rtol=0, atol=1e-9)
