"""Keys and values of the tokens that were read, in buffers with room for those to come: a step of generation writes its own and copies no others.

Shapes: n rows, h heads, L tokens so far, d numbers of a head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Buffers grow by so many tokens."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """The cache of one layer. `keys` and `values` [n, h, L, d] are the beginnings of the buffers."""

    keys: Tensor
    values: Tensor
    _rooms: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """Append [n, h, new tokens, d]; all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.keys.numel() == 0:
            self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        kept = self.keys.shape[-2]
        length = kept + key_states.shape[-2]
        rooms = self._rooms
        if rooms is None or not _begins_with(rooms[0], self.keys) or rooms[0].shape[-2] < length:
            rooms = self._rooms = (_with_room(self.keys, length), _with_room(self.values, length))
        rooms[0][..., kept:length, :] = key_states
        rooms[1][..., kept:length, :] = value_states
        self.keys, self.values = rooms[0][..., :length, :], rooms[1][..., :length, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._rooms = None  # else the old buffers would be held beside the new rows


def _begins_with(room: Tensor, part: Tensor) -> bool:
    """Whether a buffer holds this part as its beginning, all rows of it."""
    return room.data_ptr() == part.data_ptr() and room.shape[:-2] == part.shape[:-2]


def _with_room(part: Tensor, length: int) -> Tensor:
    room = part.new_empty((*part.shape[:-2], -(-length // ROOM) * ROOM, part.shape[-1]))
    room[..., : part.shape[-2], :] = part
    return room


def new_cache(model: Any) -> DynamicCache:
    """An empty cache for a model. Layers of other kinds than plain attention (with a sliding window, say) are transformers' own."""
    cache = DynamicCache(config=model.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if getattr(cache, "layer_class_to_replicate", None) is DynamicLayer:
        cache.layer_class_to_replicate = GrowingLayer
    return cache
