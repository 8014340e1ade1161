"""Training the top of a model: which weights learn, and that a forward pass goes on from the trunk's activations, in every family."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import AlbertConfig, AlbertForMaskedLM

from rag_graph.errors import ModelError
from rag_graph.generation.trunk import Trunk, begun, same_trunk, trained_part

Make = Callable[[str], Any]
IDS = torch.tensor([[5, 9, 12, 33, 41, 7, 8, 20, 3], [6, 6, 30, 31, 2, 50, 51, 4, 9]])


def trained(model: Any) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def test_a_pass_goes_on_from_the_trunk_in_every_family(deep_family: str, deep_model: Make) -> None:
    model = deep_model(deep_family)
    trunk = Trunk.of(model, 2)
    assert trunk is not None
    assert trunk.in_tuples == (deep_family == "falcon")
    with trunk.heard() as heard:
        logits = model(input_ids=IDS, use_cache=False).logits
    with trunk.alone(), trunk.heard() as again:
        below = model(input_ids=IDS, use_cache=False).logits
    assert not torch.allclose(below, logits), "the top has something to say"
    (activations,) = heard
    assert torch.equal(again[0], activations)
    with begun(trunk, activations):
        assert torch.allclose(model(input_ids=IDS, use_cache=False).logits, logits, rtol=0, atol=1e-12)
    with begun(trunk, torch.zeros_like(activations)):
        assert not torch.allclose(model(input_ids=IDS, use_cache=False).logits, logits)
    with begun(trunk, None):
        assert torch.equal(model(input_ids=IDS, use_cache=False).logits, logits)  # and nothing is left behind


def test_only_weights_of_the_top_layers_learn(deep_family: str, deep_model: Make) -> None:
    model = trained_part(deep_model(deep_family), None, 1)
    assert trained(model) == {name for name, _ in model.named_parameters() if ".3." in name}
    assert trained(model)


def test_an_adapter_is_put_on_the_top_layers_only(deep_family: str, deep_model: Make) -> None:
    model = trained_part(deep_model(deep_family), LoraConfig(target_modules="all-linear"), 2)
    adapted = {name for name, _ in model.named_parameters() if "lora" in name}
    assert trained(model) == adapted
    assert {number for number in range(4) if any(f".{number}." in name for name in adapted)} == {2, 3}


def test_an_adapter_that_was_there_stays_as_it_is_below(deep_model: Make) -> None:
    adapted = trained_part(deep_model("llama"), LoraConfig(target_modules=["q_proj"]), None)
    assert len(trained(adapted)) == 8
    assert all(".layers.3." in name for name in trained(trained_part(adapted, None, 1)))
    below = trained_part(deep_model("llama"), LoraConfig(target_modules=["q_proj"], layers_to_transform=[0]), None)
    with pytest.raises(ModelError, match="no weight of the top layers is trainable"):
        trained_part(below, None, 1)


def test_where_all_layers_are_trained_there_is_no_trunk_and_the_embedding_stays(deep_model: Make) -> None:
    model = trained_part(deep_model("llama"), None, 4)
    assert Trunk.of(model, 4) is None
    assert not model.get_input_embeddings().weight.requires_grad


@pytest.mark.parametrize("number", [0, 5])
def test_a_number_of_layers_that_the_model_lacks_is_refused(deep_model: Make, number: int) -> None:
    with pytest.raises(ModelError, match=f"train_layers is {number}, and the model has 4 layers"):
        trained_part(deep_model("gpt2"), None, number)


def test_a_model_whose_layers_cannot_be_told_is_refused() -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    with pytest.raises(ModelError, match="the layers of AlbertForMaskedLM cannot be told"):
        trained_part(AlbertForMaskedLM(AlbertConfig(vocab_size=61, embedding_size=8, **shape)), None, 2)


def test_layers_that_share_weights_are_refused(deep_model: Make) -> None:
    model = deep_model("llama")
    model.model.layers[3].mlp = model.model.layers[0].mlp
    with pytest.raises(ModelError, match="share their weights"):
        trained_part(model, None, 2)


def test_a_model_that_mixes_in_what_lies_below_the_top_is_refused(deep_model: Make) -> None:
    model, seen = deep_model("llama"), {}
    model.model.layers[0].mlp.register_forward_hook(lambda mlp, given, output: seen.update(below=output))
    model.model.norm.register_forward_pre_hook(lambda norm, given: (given[0] + seen.pop("below"),))
    with pytest.raises(ModelError, match="LlamaForCausalLM cannot go on"):
        Trunk.of(model, 1)


def test_a_trunk_is_the_same_where_its_weights_are(deep_model: Make) -> None:
    model = deep_model("llama")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.layers[3].mlp.up_proj.weight += 1
    assert same_trunk(model, other, 1)
    with torch.no_grad():
        other.model.layers[2].mlp.up_proj.weight[0, 0] += 1e-9
    assert not same_trunk(model, other, 1)
    assert same_trunk(model, other, 2)
    assert not same_trunk(model, deep_model("qwen2"), 1)


def test_reentrant_checkpoints_lose_no_gradient(deep_model: Make) -> None:
    model = trained_part(deep_model("llama"), None, 2).train()
    trunk = Trunk.of(model, 2)
    assert trunk is not None
    with trunk.heard() as heard:
        model(input_ids=IDS, use_cache=False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    def gradients() -> tuple[torch.Tensor, ...]:
        with trunk.given(heard[0].detach()):
            model.zero_grad()
            model(input_ids=IDS, use_cache=False).logits.square().sum().backward()
        return tuple(weight.grad.clone() for weight in weights)

    plain = gradients()
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)({"use_reentrant": True})
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(plain, gradients(), strict=True))
