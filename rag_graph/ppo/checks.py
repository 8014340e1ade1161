"""Checks before a PPO run begins: of its model, its tokenizer and its settings."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rag_graph.errors import ModelError, TrainingError
from rag_graph.generation.adapters import check_adapter
from rag_graph.generation.end_tokens import end_token_ids
from rag_graph.generation.model_checks import (
    check_language_model,
    check_pad_token,
    check_positions,
    check_trainable,
    num_positions,
)


def check_settings(
    args: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    value_model: Any,
    peft_config: Any = None,
) -> int:
    """The longest prompt in tokens.

    Raises:
        ModelError: a model or a tokenizer that cannot answer, or an answer that does not fit its positions.
        TrainingError: settings that cannot work.
    """
    if tokenizer is None:
        raise TrainingError("processing_class: the tokenizer is needed where the model is not given by name.")
    check_language_model(model, tokenizer)
    check_pad_token(tokenizer, end_token_ids(model, tokenizer))
    if peft_config is None:
        check_trainable(model)
    for adapter in model.peft_config.values() if isinstance(model, PeftModel) else ():
        check_adapter(adapter)
    if args.stop_token_id is not None and not 0 <= args.stop_token_id < (size := len(tokenizer)):
        raise TrainingError(f"stop_token_id is {args.stop_token_id}, and the tokenizer has {size} tokens.")
    if args.stop_token_id is not None and args.stop_token_id == tokenizer.pad_token_id:
        raise TrainingError("stop_token_id is the pad token, which is never written. Name another.")
    for name in (
        "num_ppo_epochs",
        "local_rollout_forward_batch_size",
        "response_length",
        "max_prompt_length",
        "total_episodes",
    ):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise TrainingError(f"{name} is {getattr(args, name)}: at least 1 is expected.")
    if args.fp16:
        raise TrainingError("fp16: PPO's ratios do not survive its range without loss scaling. Use bf16=True.")
    if getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type) == "reduce_lr_on_plateau":
        raise TrainingError(
            "lr_scheduler_type reduce_lr_on_plateau: PPO steps its schedule without a metric. Use another."
        )
    unused = [
        name
        for name in ("neftune_noise_alpha", "label_smoothing_factor", "save_only_model", "data_seed")
        if getattr(args, name, None)
    ]
    if unused:
        warnings.warn(f"PPO does not act on: {', '.join(unused)}.", RuntimeWarning, stacklevel=4)
    if value_model != "shared" and (
        not hasattr(value_model, "score")
        or not hasattr(value_model, str(getattr(value_model, "base_model_prefix", "")))
        or getattr(value_model.score, "out_features", 1) != 1
    ):
        raise TrainingError(
            "value_model must be 'shared', or a model with a backbone and a head '.score' of one output, such as "
            "AutoModelForSequenceClassification.from_pretrained(..., num_labels=1)."
        )
    positions = num_positions(model.config)
    answer, wanted = int(args.response_length), args.max_prompt_length
    if wanted is not None:
        check_positions(model.config, wanted, answer, ("max_prompt_length", "response_length"))
    elif positions is not None and positions <= answer:
        raise ModelError(
            f"response_length {answer} leaves no position for a prompt: the model has {positions}. Lower it."
        )
    return int(wanted or (sys.maxsize if positions is None else positions - answer))
