"""Settings, models and tokenizers that cannot work are refused before a run begins."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rag_graph.errors import DataError, ModelError, TrainingError
from rag_graph.ppo.trainer import GraphPPOTrainer
from tests.ppo.tiny_run import ROWS, arguments, constant, make

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no room for a prompt": ({"response_length": 128}, "response_length 128 leaves no position for a prompt: the model has 128"),
    "prompt length": ({"max_prompt_length": 0}, "max_prompt_length is 0: at least 1"),
    "epochs": ({"num_ppo_epochs": 0}, "num_ppo_epochs is 0: at least 1"),
    "schedule": ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 1}, "reduce_lr_on_plateau: PPO steps its schedule without a metric"),
    "stop token": ({"stop_token": None, "stop_token_id": 5000}, "stop_token_id is 5000, and the tokenizer has 320 tokens"),
    "evaluation": ({"eval_strategy": "steps", "eval_steps": 1}, "eval_strategy 'steps' without an eval_dataset"),
    "weights": ({"reward_weights": [float("nan")]}, "every weight must be a finite number"),
    "value model": ({"value_model": "sharde"}, "value_model must be 'shared', or a model with a backbone and a head"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_work_are_refused(tiny_model: Callable[[int], Any], tmp_path: Path, case: str) -> None:
    changes, message = REFUSED[case]
    special = {name: changes[name] for name in ("reward_weights", "value_model") if name in changes}
    model, tokenizer = tiny_model(1)
    settings = {name: value for name, value in changes.items() if name not in special}
    with pytest.raises((TrainingError, ModelError), match=message):
        GraphPPOTrainer(
            model,
            constant,
            arguments(tmp_path, **settings),
            ROWS,
            processing_class=tokenizer,
            **special,
        )


def test_models_and_tokenizers_that_do_not_fit_are_refused(tiny_model: Callable[[int], Any], tmp_path: Path) -> None:
    model, tokenizer = tiny_model(1)
    args = arguments(tmp_path)
    args.fp16 = True
    with pytest.raises(TrainingError, match="fp16"):
        GraphPPOTrainer(model, constant, args, ROWS, processing_class=tokenizer)
    with pytest.raises(TrainingError, match="evaluate: there is no eval_dataset"):
        make(tiny_model, tmp_path, constant).evaluate()
    grown = copy.deepcopy(tokenizer)
    grown.add_special_tokens({"pad_token": "<new>"})
    with pytest.raises(
        ModelError,
        match="the tokenizer is larger than the model: its last token is 320, and the model has 320 embeddings. .* call model.resize_token_embeddings",
    ):
        GraphPPOTrainer(model, constant, arguments(tmp_path), ROWS, processing_class=grown)
    with pytest.raises(TrainingError, match="value_model must be 'shared'"):
        GraphPPOTrainer(
            model, constant, arguments(tmp_path), ROWS, processing_class=tokenizer, value_model=tiny_model(2)[0]
        )
    with pytest.raises(TrainingError, match="reward_funcs: Linear is no reward function"):
        GraphPPOTrainer(model, torch.nn.Linear(1, 1), arguments(tmp_path), ROWS, processing_class=tokenizer)
    chat = [{"prompt": [{"role": "user", "content": "red"}]}] * 8
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(DataError, match="row 0: chat messages, and the tokenizer has no chat_template"):
        GraphPPOTrainer(model, constant, arguments(tmp_path), chat, processing_class=bare)
    with pytest.raises(DataError, match="row 0: the prompt is 7"):
        GraphPPOTrainer(model, constant, arguments(tmp_path), [{"prompt": 7}] * 8, processing_class=tokenizer)
    with pytest.raises(DataError, match="eval_dataset is a dict"):
        GraphPPOTrainer(
            model, constant, arguments(tmp_path), ROWS, eval_dataset={"a": ROWS}, processing_class=tokenizer
        )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"response_length": 128},
            "response_length 128 leaves no position for a prompt: the model has 128. Lower it",
        ),
        ({"response_length": 60, "max_prompt_length": 69}, "is 129, .*Set max_prompt_length to 68 or less"),
    ],
)
def test_prompts_and_answers_beyond_the_positions(
    tiny_model: Any, tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    model, tokenizer = tiny_model(1)
    with pytest.raises(ModelError, match=message):
        GraphPPOTrainer(
            model, constant, arguments(tmp_path, **changes), [{"prompt": "a"}] * 8, processing_class=tokenizer
        )
