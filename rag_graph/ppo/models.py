"""The models of a PPO run, made ready before training: precision, reference, activation checkpointing."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from rag_graph.errors import ModelError, TrainingError
from rag_graph.generation.model_checks import half_precision
from rag_graph.generation.trunk import Trunk, freeze_trunk, same_trunk
from rag_graph.ppo.sharding import shard_frozen


def in_float32(model: Any) -> None:
    """Weights that are trained in 16 bits become float32: small steps would vanish. Says so, because it takes twice the memory.

    The frozen weights under an adapter stay as they are. Under DeepSpeed ZeRO-3 the engine keeps its own copies in float32.
    """
    halves = half_precision(model)
    if not halves or is_deepspeed_zero3_enabled():
        return
    kind = str(dict(model.named_parameters())[halves[0]].dtype).removeprefix("torch.")
    if isinstance(model, PeftModel):
        for name, weight in model.named_parameters():
            if name in halves and "lora_" in name:  # these cast their input
                weight.data = weight.data.float()
    else:
        model.float()
    left = half_precision(model)
    what = f"{', '.join(left[:3])} stay so and hardly move" if left else "they are float32 from here on"
    warnings.warn(
        f"{type(model).__name__}: trained weights in {kind}, in which small steps vanish: {what}. Load the model with dtype=torch.float32; "
        "bf16=True computes in bfloat16.",
        RuntimeWarning,
        stacklevel=4,
    )


class StartingAdapter:
    """The trained weights of an adapter as they were when training began: the reference of a policy that came with its adapter.

    Args:
        policy: a `PeftModel`, on its device.
    """

    def __init__(self, policy: PeftModel) -> None:
        self._pairs = [(weight, weight.detach().clone()) for weight in policy.parameters() if weight.requires_grad]

    @property
    def weights(self) -> list[Tensor]:
        return [kept for _, kept in self._pairs]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The policy with these weights; no gradients inside."""
        trained = [weight.data for weight, _ in self._pairs]
        try:
            for weight, kept in self._pairs:
                weight.data = kept
            yield
        finally:
            for (weight, _), now in zip(self._pairs, trained, strict=True):
                weight.data = now


def starting_adapter(policy: Any, reference: Any, args: Any, whole_weights: bool) -> StartingAdapter | None:
    """The reference of a policy under an adapter that changes it already; None for a fresh adapter, which, switched off, is the same.

    Raises:
        ModelError: the weights are sharded, so that they cannot be put back.
    """
    if reference is not None or not isinstance(policy, PeftModel) or args.ref_adapter_name is not None:
        return None
    trained = [(name, weight) for name, weight in policy.named_parameters() if weight.requires_grad]
    below = [(name, weight) for name, weight in policy.named_parameters() if "lora_B" in name]  # frozen ones too
    if all("lora_A" in name or ("lora_B" in name and not weight.any()) for name, weight in trained + below):
        return None
    if not whole_weights:
        raise ModelError(
            "a trained adapter cannot be its own reference where an engine shards the weights. Give ref_model, or a second adapter as ref_adapter_name."
        )
    return StartingAdapter(policy)


def reference_model(policy: Any, given: Any, share: bool = False) -> Any:
    """What the KL is measured from: the model given, a frozen copy of the policy, or None where it is the
    policy with another adapter, or with none.

    Args:
        share: the copy holds the very weights of the policy that are not trained.

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
    frozen = {id(weight): weight for weight in policy.parameters() if share and not weight.requires_grad}
    return copy.deepcopy(policy, frozen).requires_grad_(False).eval()


def shared_trunk(policy: Any, other: Any, train_layers: int | None) -> Trunk | None:
    """The trunk of a reference or value model, where it gives what the policy's gives; None where it does not, or there is none."""
    if train_layers is None or not isinstance(other, PreTrainedModel):
        return None
    try:
        return Trunk.of(other, train_layers) if same_trunk(policy, other, train_layers) else None
    except ModelError:  # another architecture
        return None


def freeze_value_trunk(policy: Any, value_model: Any, train_layers: int | None) -> None:
    """Of a separate value model that starts from the policy's weights, train the top layers and the head only; another stays as it is."""
    if shared_trunk(policy, value_model, train_layers) is not None:
        freeze_trunk(value_model, int(train_layers or 0))
        value_model.score.requires_grad_(True)


def place_reference(reference: Any, accelerator: Accelerator, deepspeed: bool) -> Any:
    """The reference model on the device of this process, or sharded as DeepSpeed shards the policy."""
    if reference is None:
        return None
    return shard_frozen(reference, accelerator) if deepspeed else reference.to(accelerator.device)


def checkpoint_activations(models: tuple[Any, ...], settings: Mapping[str, Any] | None) -> None:
    """Let the layers of the models compute their activations again in the backward pass."""
    for model in models:
        if isinstance(model, PreTrainedModel | PeftModel):  # a value head alone has no layers
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable(settings)
