"""Weights for many forward passes under autocast: those that nobody trains are cast once, not in every pass.

Autocast keeps a cast weight only where the weight takes a gradient. Without this, each token of an answer would cast all frozen weights again. The results
are the same to the bit, because autocast would make the same casts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def cast_once(model: nn.Module) -> Iterator[None]:
    """Inside, frozen float32 weights of the model's linear layers are in the precision of the surrounding autocast; nothing is done where there is none."""
    own: dict[nn.Linear, Any] = {}
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        layers = (module for module in model.modules() if isinstance(module, nn.Linear))
        own = {layer: layer.weight for layer in layers if _is_frozen(layer.weight)}
        for layer, weight in own.items():
            layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    try:
        yield
    finally:
        for layer, weight in own.items():
            layer.weight = weight


def _is_frozen(weight: Tensor) -> bool:
    """Weights of other types (quantised, sharded) are left to those who made them."""
    return type(weight) is nn.Parameter and weight.dtype == torch.float32 and not weight.requires_grad
