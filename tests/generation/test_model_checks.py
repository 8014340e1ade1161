"""What is said of models and tokenizers that cannot answer or be trained, before anything long starts."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    MptConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from rag_graph.config import ModelConfig, ScratchConfig
from rag_graph.errors import ModelError
from rag_graph.generation.language_model import check_source, load_language_model
from rag_graph.generation.model_checks import (
    check_language_model,
    check_pad_token,
    check_positions,
    check_trainable,
    half_precision,
    num_positions,
)

Setting = tuple[Any, Any]
SHAPE = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


@pytest.fixture
def setting(tiny_model: Callable[[int], Any]) -> Setting:
    model, tokenizer = tiny_model(1)
    return model, copy.deepcopy(tokenizer)


def t5() -> Any:
    return T5ForConditionalGeneration(T5Config(vocab_size=320, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2))


def bart() -> Any:
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64}
    return BartForConditionalGeneration(BartConfig(vocab_size=320, d_model=32, **layers, **sizes))


KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "T5": (t5, "is an encoder-decoder model. .* use a causal model"),
    "BART": (bart, "is an encoder-decoder model"),
    "classifier": (lambda: LlamaForSequenceClassification(LlamaConfig(**SHAPE, pad_token_id=0)), "no language-model head"),
    "no head": (lambda: LlamaModel(LlamaConfig(**SHAPE)), "LlamaModel has no language-model head"),
    "BERT": (lambda: BertLMHeadModel(BertConfig(**SHAPE)), "reads both ways. Set is_decoder: true"),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_models_of_another_kind(setting: Setting, case: str) -> None:
    make, message = KINDS[case]
    with pytest.raises(ModelError, match=message):
        check_language_model(make(), setting[1])


@pytest.mark.parametrize("case", ["T5", "BART", "classifier", "no head"])
def test_folders_of_another_kind(setting: Setting, tmp_path: Path, case: str) -> None:
    KINDS[case][0]().save_pretrained(tmp_path)
    setting[1].save_pretrained(tmp_path)
    message = "the weights lm_head.weight are not there" if case == "no head" else KINDS[case][1]
    with pytest.raises(ModelError, match=f"model.source '{tmp_path}'.*{message}"):
        load_language_model(ModelConfig(source=str(tmp_path), max_prompt_tokens=32))


def test_a_tokenizer_without_an_end_token(setting: Setting) -> None:
    model, tokenizer = setting
    check_language_model(model, tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end token, so no answer could end. Set tokenizer.eos_token"):
        check_language_model(model, tokenizer)


def test_a_tokenizer_larger_than_the_embedding(setting: Setting, tmp_path: Path) -> None:
    model, tokenizer = setting
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(ModelError, match="larger than the model: its last token is 320, and the model has 320"):
        check_language_model(model, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for look in (load_language_model, check_source):
        with pytest.raises(ModelError, match="its last token is 320, and the model has 320 embeddings"):
            look(ModelConfig(source=str(tmp_path), max_prompt_tokens=64))
    model.resize_token_embeddings(384)
    check_language_model(model, tokenizer)


def test_a_pad_token_that_is_missing_or_ends_answers(setting: Setting) -> None:
    check_pad_token(setting[1])
    for pad in (None, setting[1].eos_token):
        setting[1].pad_token = pad
        with pytest.raises(ModelError, match="pad token must exist and differ from its end token"):
            check_pad_token(setting[1])


def test_positions_by_whatever_name() -> None:
    assert num_positions(LlamaConfig(max_position_embeddings=64)) == 64
    assert num_positions(GPT2Config(n_positions=32)) == 32
    assert num_positions(MptConfig(max_seq_len=48)) == 48
    assert num_positions(BloomConfig()) is None
    dynamic = LlamaConfig(max_position_embeddings=16, rope_scaling={"rope_type": "dynamic", "factor": 4.0})
    assert num_positions(dynamic) == 64
    with pytest.raises(ModelError, match="p 60 . a 8 is 68, and the model has 64 positions. Set p to 56 or less"):
        check_positions(dynamic, 60, 8, ("p", "a"))
    with pytest.raises(ModelError, match="Lower a"):
        check_positions(dynamic, 1, 64, ("p", "a"))
    check_positions(dynamic, 56, 8, ("p", "a"))
    check_positions(BloomConfig(), 10**9, 8, ("p", "a"))


def test_prompts_beyond_the_positions_of_a_folder(setting: Setting, tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=1, n_head=2, n_positions=64, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    setting[1].save_pretrained(tmp_path)
    for look in (load_language_model, check_source):
        with pytest.raises(ModelError, match="model.max_prompt_tokens 480 .* has 64 positions. Set .* to 56 or less"):
            look(ModelConfig(source=str(tmp_path)))
    check_source(ModelConfig(source=str(tmp_path), max_prompt_tokens=56))


def test_heads_of_an_odd_size() -> None:
    with pytest.raises(ValueError, match=r"is 3, and rotary positions need an even number. Set hidden_size to 128"):
        ScratchConfig(hidden_size=96, num_heads=32)


def test_nothing_to_train(setting: Setting) -> None:
    model = setting[0]
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], inference_mode=True))
    with pytest.raises(ModelError, match="no weight is trainable. Load the adapter with .*is_trainable=True"):
        check_trainable(adapted)


def test_trained_weights_in_16_bits(setting: Setting) -> None:
    model = setting[0]
    assert half_precision(model) == []
    model.to(torch.bfloat16)
    assert len(half_precision(model)) == len(list(model.parameters()))
    model.requires_grad_(False)
    assert half_precision(model) == []


CODE = {"auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}, "model_type": "own_model"}
PYTHON = """from transformers import LlamaConfig, LlamaForCausalLM

class Config(LlamaConfig):
    model_type = "own_model"

class Model(LlamaForCausalLM):
    config_class = Config
"""


def test_code_that_comes_with_a_model_runs_only_where_it_is_allowed(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "folder"
    setting[0].save_pretrained(folder)
    setting[1].save_pretrained(folder)
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, **CODE}))
    (folder / "own.py").write_text(PYTHON)
    config = ModelConfig(source=str(folder), max_prompt_tokens=64)
    for look in (load_language_model, check_source):
        with pytest.raises(ModelError, match="Python code of its own, .* set model.trust_remote_code: true"):
            look(config)
    model, _ = load_language_model(config.model_copy(update={"trust_remote_code": True}))
    assert type(model).__name__ == "Model"
