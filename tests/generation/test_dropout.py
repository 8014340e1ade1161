"""Dropout off in modules, in numbers that layers keep, in configs that layers read, and in adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from rag_graph.generation.dropout import disable_dropout

SHAPE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = {**SHAPE, "intermediate_size": 48}


def adapted() -> Any:
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], lora_dropout=0.5)
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(**LLAMA)), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "a number of the layer": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, attention_dropout=0.3)),
    "modules": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=2, attn_pdrop=0.3)),
    "a config that is read at each pass": lambda: FalconForCausalLM(
        FalconConfig(**SHAPE, hidden_dropout=0.3, attention_dropout=0.3)
    ),
    "dropped layers": lambda: OPTForCausalLM(
        OPTConfig(**SHAPE, ffn_dim=48, word_embed_proj_dim=32, dropout=0.3, layerdrop=0.5)
    ),
    "noise of a router": lambda: MixtralForCausalLM(
        MixtralConfig(**LLAMA, num_key_value_heads=2, num_local_experts=4, router_jitter_noise=0.5)
    ),
    "an adapter": adapted,
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_in_training_mode_gives_what_it_gives_in_evaluation(case: str) -> None:
    torch.manual_seed(0)
    model = MODELS[case]()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)  # so that noise shows
    ids = torch.arange(2, 14)[None]
    with torch.no_grad():
        expected = model.eval()(ids).logits
        noisy = model.train()(ids).logits
        assert (noisy - expected).abs().max() > 1e-3, "there is something to switch off"
        disable_dropout(model)
        assert torch.equal(model.train()(ids).logits, expected)
