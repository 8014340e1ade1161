"""The models of a PPO run, made ready before training: adapter, reference model, dropout, activation checkpointing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from rag_graph.errors import TrainingError
from rag_graph.ppo.sharding import shard_frozen


def with_adapter(model: Any, peft_config: Any) -> Any:
    """The model that is trained: `model`, or an adapter on it.

    Raises:
        TrainingError: no `PeftConfig`, or the model has an adapter already.
    """
    if peft_config is None:
        return model
    if not isinstance(peft_config, PeftConfig):
        raise TrainingError(
            f"peft_config is a {type(peft_config).__name__}. A peft.PeftConfig such as LoraConfig is expected."
        )
    if isinstance(model, PeftModel):
        raise TrainingError(
            "the model has an adapter already, and peft_config would add another. Leave peft_config out, or call merge_and_unload() on "
            "the model first."
        )
    return get_peft_model(model, peft_config)


def reference_model(policy: Any, given: Any) -> Any:
    """What the KL is measured from: the model given, a frozen copy of the policy, or None where the policy without its adapter is it.

    Raises:
        TrainingError: the reference is the policy itself, or no copy can be made.
    """
    if given is policy:
        raise TrainingError("model and ref_model are the same object. Leave ref_model out: a frozen copy is made.")
    if given is not None or isinstance(policy, PeftModel):
        return given
    if is_deepspeed_zero3_enabled():
        raise TrainingError(
            "under DeepSpeed ZeRO-3 a model cannot be copied. Load the reference model and give it as ref_model."
        )
    return copy.deepcopy(policy).requires_grad_(False).eval()


def place_reference(reference: Any, accelerator: Accelerator, deepspeed: bool) -> Any:
    """The reference model on the device of this process, or sharded as DeepSpeed shards the policy."""
    if reference is None:
        return None
    return shard_frozen(reference, accelerator) if deepspeed else reference.to(accelerator.device)


def remove_dropout(*models: nn.Module | None) -> None:
    """Switch dropout off: with it, the first ratio of an update would not be 1."""
    for model in models:
        for module in model.modules() if model is not None else ():
            if isinstance(module, nn.Dropout):
                module.p = 0.0


def checkpoint_activations(models: tuple[Any, ...], settings: Mapping[str, Any] | None) -> None:
    """Let the layers of the models compute their activations again in the backward pass."""
    for model in models:
        if isinstance(model, PreTrainedModel | PeftModel):  # a value head alone has no layers
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable(settings)
