"""Adapters: the layers they are put on, and folders that hold nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Olmo2Config,
    Olmo2ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rag_graph.config import LoraSettings, ModelConfig
from rag_graph.errors import ModelError
from rag_graph.generation.adapters import base_model, merged, with_adapter
from rag_graph.generation.language_model import load_language_model, lora_config

IDS = torch.tensor([[10, 20, 30, 40]])
SHAPE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
FAMILIES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=2)), {"c_attn"}),
    "qwen2": (lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, num_key_value_heads=1)), {"q_proj", "v_proj"}),
    "not known to peft": (
        lambda: Olmo2ForCausalLM(Olmo2Config(**SHAPE)),
        {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    ),
}


def layers(model: Any) -> set[str]:
    return {name.split(".lora_A")[0].rsplit(".", 1)[-1] for name, _ in model.named_parameters() if "lora_A" in name}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_put_on_the_layers_that_suit_the_architecture(family: str) -> None:
    make, expected = FAMILIES[family]
    adapted = with_adapter(make(), lora_config(LoraSettings(r=2)))
    assert layers(adapted) == expected
    assert base_model(adapted) is adapted.base_model.model


def test_layers_that_a_model_lacks(tiny_model: Callable[[int], Any]) -> None:
    model, _ = tiny_model(1)
    wanted = LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"])
    with pytest.raises(ModelError, match="does not fit LlamaForCausalLM: .*c_attn.* Its layers are: .*o_proj, q_proj"):
        with_adapter(model, wanted)
    with pytest.raises(ModelError, match="prompt learning .* is not supported"):
        with_adapter(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ModelError, match="peft_config is a dict. A peft.PeftConfig is expected"):
        with_adapter(model, {"r": 4})
    with pytest.raises(ModelError, match="has an adapter already"):
        with_adapter(get_peft_model(model, LoraConfig(target_modules=["q_proj"])), wanted)


@pytest.fixture
def saved(tiny_model: Callable[[int], Any], tmp_path: Path) -> tuple[Path, Any, Any]:
    """A folder that holds an adapter only, and the logits with and without it."""
    model, tokenizer = tiny_model(1)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        return tmp_path / "adapter", adapted(IDS).logits, model(IDS).logits


@pytest.mark.parametrize("lora", [None, LoraSettings(r=2)])
def test_an_adapter_as_source_is_merged_aloud(saved: tuple[Path, Any, Any], lora: LoraSettings | None) -> None:
    folder, with_it, without = saved
    assert (with_it - without).abs().max() > 1e-3
    config = ModelConfig(source=str(folder), max_prompt_tokens=64, lora=lora)
    with pytest.warns(
        RuntimeWarning, match=r"adapter' is an adapter: it is merged into its base .*base. The policy and"
    ):
        model, tokenizer = load_language_model(config)
    assert len(tokenizer) == 320, "the tokenizer of the base"
    assert all(weight.requires_grad for weight in model.parameters())
    if lora is not None:
        model = with_adapter(model, lora_config(lora))
    with torch.no_grad():
        assert torch.allclose(model(IDS).logits, with_it, atol=1e-4)
        if lora is not None:
            with model.disable_adapter():
                assert torch.allclose(model(IDS).logits, with_it, atol=1e-4), "the reference of the KL"
            assert torch.allclose(merged(model)(IDS).logits, with_it, atol=1e-4)


def test_an_adapter_whose_base_is_gone(saved: tuple[Path, Any, Any]) -> None:
    folder = saved[0]
    (folder.parent / "base").rename(folder.parent / "moved")
    with pytest.raises(ModelError, match="model.source '.*adapter' is an adapter of '.*base', which cannot be loaded"):
        load_language_model(ModelConfig(source=str(folder), max_prompt_tokens=64))


def test_an_adapter_for_another_task(saved: tuple[Path, Any, Any]) -> None:
    about = saved[0] / "adapter_config.json"
    about.write_text(about.read_text().replace('"CAUSAL_LM"', '"SEQ_CLS"'))
    with pytest.raises(ModelError, match="is an adapter for SEQ_CLS, not for a language model"):
        load_language_model(ModelConfig(source=str(saved[0]), max_prompt_tokens=64))
