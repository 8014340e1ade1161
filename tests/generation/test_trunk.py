"""Training the top of a model: which weights learn, and that a forward pass goes on from the trunk's activations, in every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rag_graph.errors import ModelError
from rag_graph.generation.trunk import Trunk, trained_part

SHAPE = {
    "vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WINDOWS = {"head_dim": 8, "sliding_window": 4}
MIXED = ["sliding_attention", "full_attention"] * 2
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, **WINDOWS, layer_types=MIXED)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, **WINDOWS, layer_types=MIXED)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=16, n_layer=4, n_head=2, n_positions=64)),
    "layers that give tuples": lambda: FalconForCausalLM(
        FalconConfig(vocab_size=61, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, alibi=False)
    ),
}
IDS = torch.tensor([[5, 9, 12, 33, 41, 7, 8, 20, 3], [6, 6, 30, 31, 2, 50, 51, 4, 9]])


def made(family: str) -> Any:
    torch.manual_seed(0)
    return FAMILIES[family]().double().eval()


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_going_on_from_the_trunk_gives_the_same_logits_and_gradients(family: str, lora: bool) -> None:
    adapter = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False) if lora else None
    model = trained_part(made(family), adapter, 2).eval()
    trunk = Trunk.of(model, 2)
    assert trunk is not None

    def gradients() -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits = model(input_ids=IDS, use_cache=False).logits
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        return logits, list(torch.autograd.grad(logits.log_softmax(-1).square().sum(), weights))

    with trunk.heard() as heard:
        logits, whole = gradients()
    (activations,) = heard
    with torch.no_grad(), trunk.alone(), trunk.heard() as again:
        model(input_ids=IDS, use_cache=False)
    assert torch.equal(again[0], activations)
    with trunk.given(activations.detach()):
        resumed_logits, resumed = gradients()
    assert torch.allclose(resumed_logits, logits, rtol=0, atol=1e-9)
    assert len(whole) > 1
    for one, other in zip(resumed, whole, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9)
        assert other.abs().max() > 1e-6
    with trunk.given(torch.zeros_like(activations)):
        assert not torch.allclose(gradients()[0], logits)
    assert torch.equal(gradients()[0], logits)  # nothing is left behind


@pytest.mark.parametrize("family", FAMILIES)
def test_only_weights_of_the_top_layers_learn(family: str) -> None:
    model = trained_part(made(family), None, 1)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".3." in name}


def test_an_adapter_is_put_on_the_top_layers_only() -> None:
    model = trained_part(made("llama"), LoraConfig(target_modules=["q_proj"]), 2)
    adapted = {name.split(".layers.")[1][0] for name, _ in model.named_parameters() if "lora" in name}
    assert adapted == {"2", "3"}
    assert all(("lora" in name) == weight.requires_grad for name, weight in model.named_parameters())


def test_an_adapter_that_was_there_stays_as_it_is_below() -> None:
    adapted = trained_part(made("llama"), LoraConfig(target_modules=["q_proj"]), None)
    model = trained_part(adapted, None, 1)
    assert {name.split(".layers.")[1][0] for name, weight in model.named_parameters() if weight.requires_grad} == {"3"}


def test_all_layers_leave_no_trunk_and_freeze_the_embedding() -> None:
    model = trained_part(made("llama"), None, 4)
    assert Trunk.of(model, 4) is None
    assert not model.get_input_embeddings().weight.requires_grad


@pytest.mark.parametrize("number", [0, 5])
def test_a_number_of_layers_that_the_model_lacks_is_refused(number: int) -> None:
    with pytest.raises(ModelError, match=f"train_layers is {number}, and the model has 4 layers"):
        trained_part(made("gpt2"), None, number)


def test_a_model_whose_layers_cannot_be_told_is_refused() -> None:
    config = AlbertConfig(
        vocab_size=61,
        hidden_size=16,
        embedding_size=8,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=24,
    )
    with pytest.raises(ModelError, match="the layers of AlbertForMaskedLM cannot be told"):
        trained_part(AlbertForMaskedLM(config), None, 2)


def test_layers_that_share_weights_are_refused() -> None:
    model = made("llama")
    model.model.layers[3].mlp = model.model.layers[0].mlp
    with pytest.raises(ModelError, match="share their weights"):
        trained_part(model, None, 2)


def test_a_model_that_mixes_in_what_lies_below_the_top_is_refused() -> None:
    model = made("llama")
    inner, below = model.model.norm, model.model.layers[0]
    below.register_forward_hook(
        lambda layer, given, output: setattr(below, "seen", output * 2 if output is not given[0] else output)
    )
    model.model.norm.register_forward_pre_hook(lambda norm, given: (given[0] + below.seen,))
    assert inner is model.model.norm
    with pytest.raises(ModelError, match="LlamaForCausalLM cannot go on"):
        Trunk.of(model, 1)
