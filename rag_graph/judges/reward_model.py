"""A trained reward model as a judge: a sequence classifier that reads prompt and answer. It is asked no question in words.

| the model has | score of an answer |
|---|---|
| one output, and the file states no scale | sigmoid of the logit, as in the loss of Bradley and Terry that trains most reward models |
| one output, and `scale: [low, high]` | the logit's place between low and high, cut to [0, 1] |
| K labels | the expected label of the softmax, from 0 for the first to 1 for the last: the labels go from bad to good |
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import JudgeConfig
from rag_graph.display import one_line
from rag_graph.errors import ModelError, need
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.judges.local import asked_of, placed, positions_of, refuse_settings, too_long, without_specials


class RewardModelJudge:
    """
    Prompt and answer become the turns of a user and of the assistant, as the tokenizer's chat template writes them. Without a template they are the pair of
    texts that encoders read.

    Args:
        name: among the run's judges.
        config: `model` is a Hugging Face id or a folder of a sequence classifier; it is loaded before the first question, in bfloat16 on CUDA and in
            float32 elsewhere. `batch_size`: answers per forward pass.
        device: such as "cuda".

    Raises:
        ConfigError: a setting that a reward model knows nothing of.
    """

    def __init__(self, name: str, config: JudgeConfig, device: str = "cpu") -> None:
        refuse_settings(name, config, "template")
        self.name, self.config, self.device = name, config, device
        self._loaded: tuple[Any, Any] | None = None

    def __repr__(self) -> str:
        return one_line("RewardModelJudge", repr(self.name), f"model {self.config.model!r}")

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question, in their order.

        An answer that the model cannot read whole with its prompt is the failure `too_long`; it is never cut. NaN is the failure `unreadable`.

        Raises:
            ModelError: the model cannot be loaded, or is no classifier of texts.
        """
        if not questions:
            return []
        model, tokenizer = self._load()
        limit = positions_of(model, tokenizer)
        verdicts: list[Verdict | None] = [None] * len(questions)
        fitting = []
        for place, question in enumerate(questions):
            encoded = _encode(tokenizer, question)
            length = len(encoded["input_ids"])
            if limit is not None and length > limit:
                verdicts[place] = too_long(length, limit)
            else:
                fitting.append((place, encoded))
        fitting.sort(key=lambda one: len(one[1]["input_ids"]))
        for start in range(0, len(fitting), self.config.batch_size):
            batch = fitting[start : start + self.config.batch_size]
            started = time.perf_counter()
            logits = _logits(model, tokenizer, [encoded for _, encoded in batch]).tolist()
            seconds = (time.perf_counter() - started) / len(batch)
            for (place, encoded), row in zip(batch, logits, strict=True):
                score = _score(row, questions[place])
                asked = asked_of(self.config, len(encoded["input_ids"]), seconds)
                said = f"logits {', '.join(f'{value:.3f}' for value in row)}"
                verdicts[place] = (
                    Verdict(None, asked, "unreadable", "the model computes NaN") if math.isnan(score) else Verdict(score, asked, rationale=said)
                )  # fmt: skip
        return [verdict for verdict in verdicts if verdict is not None]

    def show(self, question: Question) -> str:
        """The two texts that the model reads, before its chat template. Loads no model."""
        return f"[user] {question.episode.prompt}\n\n[assistant] {question.episode.response}\n\nThe score is the output of the reward model {self.config.model}."

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            need("a reward model", "transformers")
            model, tokenizer = _read(self.config.model, f"judges.{self.name}.model '{self.config.model}'")
            self._loaded = (placed(model, self.device), tokenizer)
        return self._loaded


def _read(source: str, name: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
        model, about = AutoModelForSequenceClassification.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{name} cannot be loaded: {first.rstrip('. ')}. Give a Hugging Face id (with a network) or a folder of a sequence classifier."
        ) from None
    missing = sorted(set(about["missing_keys"]) & {key for key, _ in model.named_parameters()})
    if missing:
        raise ModelError(
            f"{name}: the weights {', '.join(missing[:3])} are not there and would be random. It is no reward model: give a sequence classifier that was saved "
            "whole, or write backend: transformers for a language model."
        )
    if config.problem_type == "multi_label_classification":
        raise ModelError(
            f"{name}: it has {model.num_labels} outputs with a meaning each, not one scale. Give a model with one output, or with labels from bad to good."
        )
    return model, tokenizer


def _encode(tokenizer: Any, question: Question) -> dict[str, list[int]]:
    prompt, response = (
        without_specials(tokenizer, text) for text in (question.episode.prompt, question.episode.response)
    )
    if tokenizer.chat_template is None:
        encoded = tokenizer(prompt, response)
    else:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        encoded = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)
    return {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}


@torch.no_grad()
def _logits(model: Any, tokenizer: Any, batch: Sequence[dict[str, list[int]]]) -> Tensor:
    """float32 [rows, labels]. Padded on the right: a classifier on top of a decoder reads the last token that is not the pad token."""
    pad = tokenizer.pad_token_id
    if pad is None:  # any id that no row holds
        used = {token for row in batch for token in row["input_ids"]}
        pad = next(token for token in range(len(used) + 1) if token not in used)
    if not model.config.is_encoder_decoder:
        model.config.get_text_config().pad_token_id = pad
    longest = max(len(row["input_ids"]) for row in batch)
    inputs = {
        name: torch.tensor(
            [row[name] + [pad if name == "input_ids" else 0] * (longest - len(row[name])) for row in batch],
            device=model.device,
        )
        for name in batch[0]
    }
    mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in batch]
    output = model(**inputs, attention_mask=torch.tensor(mask, device=model.device))
    logits: Tensor = output.logits.float().cpu()
    return logits


def _score(logits: Sequence[float], question: Question) -> float:
    """In [0, 1], or NaN."""
    if any(math.isnan(value) for value in logits):
        return math.nan
    if len(logits) > 1:
        shares = torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()
        return sum(label * share for label, share in enumerate(shares)) / (len(logits) - 1)
    (logit,) = logits
    if question.scaled:
        return min(1.0, max(0.0, (logit - question.low) / (question.high - question.low)))
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
