"""Low-rank adapters: made for training, folded into their model, or read from a folder that holds nothing else."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils.peft_utils import find_adapter_config_file

from rag_graph.errors import ModelError


def base_model(model: Any) -> Any:
    """The language model under an adapter; others as they are."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def with_adapter(model: Any, config: PeftConfig, without: Sequence[nn.Module] = ()) -> Any:
    """The model under a fresh adapter. Where the config names no modules, they are peft's own choice for the architecture, or else all
    linear ones.

    Args:
        without: layers of the model that the adapter leaves out, where the config does not say itself which it does (`exclude_modules`).

    Raises:
        ModelError: the model has an adapter already, or lacks the modules that the config names.
    """
    if not isinstance(config, PeftConfig):
        raise ModelError(
            f"peft_config is a {type(config).__name__}. A peft.PeftConfig is expected, such as LoraConfig."
        )
    if isinstance(model, PeftModel):
        raise ModelError(
            "the model has an adapter already, and a peft_config asks for another. Leave out peft_config to go on training the adapter, "
            "or give model.merge_and_unload()."
        )
    check_adapter(config)
    chosen = copy.deepcopy(config)
    known = model.config.model_type in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    if isinstance(chosen, LoraConfig) and chosen.target_modules is None and not known:
        chosen.target_modules = "all-linear"
    if without and getattr(chosen, "exclude_modules", without) is None:
        names = [re.escape(name) for name, part in model.named_modules() if any(part is layer for layer in without)]
        chosen.exclude_modules = rf"({'|'.join(names)})\..*"
    try:
        with warnings.catch_warnings():
            # peft reads names that transformers has deprecated, and says that it sets fan_in_fan_out right for GPT-2.
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", message="fan_in_fan_out")
            return get_peft_model(model, chosen)
    except ValueError as error:
        layers = {
            name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear | Conv1D)
        }
        raise ModelError(
            f"the adapter does not fit {type(model).__name__}: {str(error).splitlines()[0]} Its layers are: {', '.join(sorted(layers))}. Name some "
            "of them in target_modules, or say 'all-linear'."
        ) from None


def check_adapter(config: PeftConfig) -> None:
    """Raises ModelError for adapters that add tokens to the prompt instead of changing weights."""
    if config.is_prompt_learning:
        raise ModelError(
            "prompt learning (prompt, prefix or p-tuning) is not supported: use LoRA or another weight adapter."
        )


def merged(model: Any) -> PreTrainedModel:
    """An adapted model with its adapter folded into the weights; others as they are."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model  # type: ignore[no-any-return]


def adapter_base(source: str, revision: str | None, name: str) -> str | None:
    """The base model of an adapter's folder or id; None where `source` is no adapter.

    Raises:
        ModelError: an adapter that cannot be merged into a language model.
    """
    if find_adapter_config_file(source, revision=revision) is None:
        return None
    config = PeftConfig.from_pretrained(source, revision=revision)
    check_adapter(config)
    if getattr(config.task_type, "value", config.task_type) not in (None, "CAUSAL_LM"):
        raise ModelError(f"{name} is an adapter for {config.task_type}, not for a language model.")
    if not config.base_model_name_or_path:
        raise ModelError(
            f"{name} is an adapter that does not name its base. Write base_model_name_or_path in its adapter_config.json."
        )
    return str(config.base_model_name_or_path)


def merge_adapter(
    base: PreTrainedModel, source: str, revision: str | None, tokenizer: PreTrainedTokenizerBase, name: str
) -> PreTrainedModel:
    """The base with the adapter of `source` folded in, and rows for tokens that came with the adapter. Warns that this was done."""
    if len(tokenizer) > base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            model = PeftModel.from_pretrained(base, source, revision=revision).merge_and_unload()
    except (ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{name} is an adapter that does not fit its base {base.config.name_or_path}: {str(error).splitlines()[0]}"
        ) from None
    warnings.warn(
        f"{name} is an adapter: it is merged into its base {base.config.name_or_path}. The policy and the reference of its "
        "KL both start from the merged model.",
        RuntimeWarning,
        stacklevel=3,
    )
    return model.requires_grad_(True)  # type: ignore[no-any-return]
