"""Dropout off, wherever a model keeps it. PPO compares probabilities of one model at two times: with dropout, the ratio before the first
step would not be 1."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

_NAME = re.compile("dropout|pdrop|layerdrop|drop_path|jitter")
"""Attributes that add noise in training mode: dropout, dropped layers, noise on the router of a mixture of experts."""


def disable_dropout(model: nn.Module) -> None:
    """Set to 0 every dropout module, every such number that a layer keeps for itself (`attention_dropout` of Llama), and those in the
    configs, which some layers read at each pass (Falcon)."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        _silence(module)
        config: Any = getattr(module, "config", None)
        if config is not None:
            _silence(config)


def _silence(holder: Any) -> None:
    for name, value in vars(holder).items():
        if isinstance(value, float) and value > 0 and _NAME.search(name):
            setattr(holder, name, 0.0)
