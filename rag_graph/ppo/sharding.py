"""What DeepSpeed ZeRO needs beyond accelerate: whole weights while sampling, and a reference model of its own.

Not tried: no machine with DeepSpeed was at hand. The steps are those of TRL 1.12 (`trl.models.utils`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator


@contextmanager
def gathered(model: Any, accelerator: Accelerator, gather: bool = True) -> Iterator[Any]:
    """The module inside the wrapper of the parallel engine; under ZeRO-3, and where `gather` says so, with its weights whole."""
    bare = accelerator.unwrap_model(model)
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    if plugin is None or plugin.zero_stage != 3 or not gather:
        yield bare
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(model.parameters()):
        offload = getattr(model.optimizer, "parameter_offload", model.optimizer)
        _remove_hooks(offload)  # they would shard the weights again after each layer
        yield bare
        coordinator = getattr(offload, "param_coordinator", None)
        if coordinator is not None and not coordinator.is_invalid_trace():
            coordinator._invalidate_trace()
        offload._register_deepspeed_module(offload.module)


def _remove_hooks(offload: Any) -> None:
    for parameter in [*offload.module.parameters(), *(p for _, p in offload.module.ds_external_parameters())]:
        parameter.ds_active_sub_modules.clear()
    for hook in [*offload.forward_hooks, *offload.backward_hooks]:
        hook.remove()
    offload.forward_hooks, offload.backward_hooks = [], []


def shard_frozen(model: Any, accelerator: Accelerator) -> Any:
    """A model that is only read: sharded under ZeRO-3 like the policy, whole on every process otherwise."""
    import deepspeed

    config = copy.deepcopy(accelerator.state.deepspeed_plugin.deepspeed_config)
    for training in ("optimizer", "scheduler"):
        config.pop(training, None)
    config["zero_optimization"].pop("offload_optimizer", None)
    if config["zero_optimization"]["stage"] != 3:
        config["zero_optimization"]["stage"] = 0
    engine, *_ = deepspeed.initialize(model=model, config=config)
    engine.eval()
    return engine
