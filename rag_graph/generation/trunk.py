"""The lower layers of a model whose top alone is trained: found, frozen, and passed over where what they give is known already.

A layer that is passed over gives back its input, and the uppermost of the trunk gives the known activations; all else (embedding, positions,
masks, rotary tables, the layers above) is the model's own forward pass. So no family of models has code of its own here.

Shapes: n rows, L tokens, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from torch import Tensor, nn

from rag_graph.errors import ModelError
from rag_graph.generation.adapters import base_model, with_adapter
from rag_graph.generation.model_checks import check_layers


def decoder_layers(model: Any) -> list[nn.Module]:
    """The layers of a model, from the lowest to the top; of one under an adapter too.

    Raises:
        ModelError: they cannot be told, or some share their weights.
    """
    base = base_model(model)
    number = getattr(base.config.get_text_config(), "num_hidden_layers", None)
    found = [part for part in base.modules() if isinstance(part, nn.ModuleList) and len(part) == number]
    if len(found) != 1:
        raise ModelError(
            f"train_layers: the layers of {type(base).__name__} cannot be told. Leave train_layers out, so that all weights are trained."
        )
    layers = list(found[0])
    weights = [id(weight) for layer in layers for weight in layer.parameters()]
    if len(weights) != len(set(weights)):
        raise ModelError(
            f"train_layers: layers of {type(base).__name__} share their weights, so that one cannot be trained without the others. Leave "
            "train_layers out."
        )
    return layers


def top_indices(model: Any, train_layers: int) -> list[int]:
    """The numbers of the layers that are trained.

    Raises:
        ModelError: the model has fewer layers, or none can be told.
    """
    check_layers(base_model(model).config, train_layers, "train_layers")
    number = len(decoder_layers(model))
    return list(range(number - train_layers, number))


def trained_part(model: Any, adapter: PeftConfig | None, train_layers: int | None) -> Any:
    """The model, under a fresh adapter where one is given, with nothing to train but its top layers; all layers where their number is None.

    Raises:
        ModelError: see `with_adapter` and `freeze_trunk`.
    """
    if adapter is not None:
        below = [] if train_layers is None else decoder_layers(model)[: top_indices(model, train_layers)[0]]
        model = with_adapter(model, adapter, below)
    if train_layers is not None:
        freeze_trunk(model, train_layers)
    return model


def freeze_trunk(model: Any, train_layers: int) -> None:
    """Leave nothing to train but the top layers: layers below, embeddings, final norm and head stay.

    Raises:
        ModelError: see `top_indices`; or nothing is left to train.
    """
    layers = decoder_layers(model)
    top = {id(weight) for index in top_indices(model, train_layers) for weight in layers[index].parameters()}
    for weight in model.parameters():
        if id(weight) not in top:
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ModelError(
            f"train_layers {train_layers}: no weight of the top layers is trainable. Set their requires_grad, or put the adapter on them."
        )


@dataclass(frozen=True)
class Trunk:
    """The layers of a model below those that are trained; `Trunk.of` makes it.

    Attributes:
        layers, top: from the lowest up.
        in_tuples: whether these layers give their activations as the first of a tuple.
    """

    layers: Sequence[nn.Module]
    top: Sequence[nn.Module]
    in_tuples: bool = False

    @classmethod
    def of(cls, model: Any, train_layers: int) -> Trunk | None:
        """None where the trunk has no layer.

        Raises:
            ModelError: see `top_indices`; or the model cannot go on from its trunk's activations, as a trial on a few tokens shows.
        """
        layers, first = decoder_layers(model), top_indices(model, train_layers)[0]
        if first == 0:
            return None
        was_training = model.training
        model.eval()
        try:
            trunk = cls._tried(base_model(model), layers[:first], layers[first:])
        except (TypeError, AttributeError, ValueError, RuntimeError, LookupError):
            trunk = None
        finally:
            model.train(was_training)
        if trunk is None:
            raise ModelError(
                f"train_layers: {type(base_model(model)).__name__} cannot go on from the activations of its lower layers alone. Leave train_layers out."
            )
        return trunk

    @classmethod
    @torch.no_grad()
    def _tried(cls, model: Any, layers: Sequence[nn.Module], top: Sequence[nn.Module]) -> Trunk | None:
        ids = torch.arange(1, 6, device=model.device)[None] % model.get_input_embeddings().weight.shape[0]
        outputs: list[Any] = []
        handle = layers[-1].register_forward_hook(lambda layer, given, output: outputs.append(output))
        try:
            whole = model(input_ids=ids, use_cache=False)[0]
        finally:
            handle.remove()
        trunk = cls(layers, top, isinstance(outputs[0], tuple))
        with trunk.given(trunk._bare(outputs[0])):
            resumed = model(input_ids=ids, use_cache=False)[0]
        close = torch.allclose(resumed, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))
        return trunk if close else None

    @contextmanager
    def given(self, activations: Tensor) -> Iterator[None]:
        """Inside, a forward pass on the same tokens begins at the top layers.

        Args:
            activations: [n, L, H], what the trunk gives for these tokens.
        """
        if torch.is_grad_enabled() and any(getattr(layer, "gradient_checkpointing", False) for layer in self.top):
            activations = (
                activations.detach().requires_grad_()
            )  # torch's reentrant checkpoints drop gradients otherwise
        with _replaced(dict.fromkeys(self.layers[:-1], self._passing) | {self.layers[-1]: self._giving(activations)}):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, a forward pass leaves out the top layers."""
        with _replaced(dict.fromkeys(self.top, self._passing)):
            yield

    @contextmanager
    def heard(self) -> Iterator[list[Tensor]]:
        """Inside, every forward pass appends its activations [n, L, H] to the list."""
        found: list[Tensor] = []
        handle = self.layers[-1].register_forward_hook(lambda layer, given, output: found.append(self._bare(output)))
        try:
            yield found
        finally:
            handle.remove()

    def _passing(self, hidden_states: Tensor, *given: Any, **named: Any) -> Any:
        return (hidden_states,) if self.in_tuples else hidden_states

    def _giving(self, activations: Tensor) -> Callable[..., Any]:
        return lambda *given, **named: self._passing(activations)

    @staticmethod
    def _bare(output: Any) -> Tensor:
        found: Tensor = output[0] if isinstance(output, tuple) else output
        return found


def begun(trunk: Trunk | None, activations: Tensor | None) -> AbstractContextManager[None]:
    """`trunk.given(activations)`; nothing where either is not there."""
    return nullcontext() if trunk is None or activations is None else trunk.given(activations)


def same_trunk(model: Any, other: Any, train_layers: int) -> bool:
    """Whether two models give the same activations below their top layers: weights of the same names and values, but for those of the top
    layers and of heads."""
    found = []
    for each in (model, other):
        base = base_model(each)
        top = decoder_layers(each)[top_indices(each, train_layers)[0] :]
        apart = {id(weight) for layer in top for weight in layer.parameters()}
        backbone = getattr(base, base.base_model_prefix)
        found.append({name: weight for name, weight in backbone.named_parameters() if id(weight) not in apart})
    own, others = found
    return own.keys() == others.keys() and all(
        weight is others[name] or (weight.shape == others[name].shape and torch.equal(weight, others[name]))
        for name, weight in own.items()
    )


@contextmanager
def _replaced(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Modules with another forward pass. Hooks of theirs still run."""
    own = {module: vars(module).get("forward") for module in forwards}  # accelerate, too, puts one beside the class's
    for module, forward in forwards.items():
        module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward  # type: ignore[method-assign]
