"""Weights for many forward passes under autocast: those that nobody trains are cast once, not in every pass.

Autocast keeps a cast weight only where the weight takes a gradient. Without this, each token of an answer would cast all frozen weights again. The results
are the same to the bit where a layer uses its weight in its product only, because autocast would make the same cast. DoRA also takes its norm, so models with such an
adapter are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def cast_once(model: nn.Module) -> Iterator[None]:
    """Inside, frozen float32 weights of the model's linear layers are in the precision of the surrounding autocast; nothing is done where there is none.
    The model's weights must be whole on this process."""
    own: dict[nn.Linear, Any] = {}
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device) and not _has_dora(model):
        layers = (module for module in model.modules() if isinstance(module, nn.Linear))
        own = {layer: layer.weight for layer in layers if _is_frozen(layer.weight)}
    try:
        for layer, weight in own.items():
            layer.weight = nn.Parameter(weight.to(torch.get_autocast_dtype(device)), requires_grad=False)
        yield
    finally:
        for layer, weight in own.items():
            layer.weight = weight


def _has_dora(model: nn.Module) -> bool:
    vectors: list[Any] = [getattr(part, "lora_magnitude_vector", ()) for part in model.modules()]
    return any(len(of_layer) > 0 for of_layer in vectors)


def _is_frozen(weight: Tensor) -> bool:
    """Weights of other types (quantised, sharded) are left to those who made them."""
    return type(weight) is nn.Parameter and weight.dtype == torch.float32 and not weight.requires_grad
