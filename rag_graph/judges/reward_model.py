"""A trained reward model as a judge: a sequence classifier that reads prompt and answer. It is asked no question in words.

| the model has | score of an answer |
|---|---|
| one output, and the file states no scale | sigmoid of the logit, as in the loss of Bradley and Terry that trains most reward models |
| one output, and `scale: [low, high]` | the logit's place between low and high, cut to [0, 1] |
| K labels | the expected label of the softmax, from 0 for the first to 1 for the last: the labels go from bad to good |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import JudgeConfig
from rag_graph.errors import ModelError, need
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.judges.local import Encoded, LocalModel, refuse_settings, without_specials


class RewardModelJudge(LocalModel):
    """A sequence classifier.

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
        super().__init__(name, config, device)
        refuse_settings(name, config, "template")

    def show(self, question: Question) -> str:
        """The two texts that the model reads, before its chat template. Loads no model."""
        return f"[user] {question.episode.prompt}\n\n[assistant] {question.episode.response}\n\nThe score is the output of the reward model {self.config.model}."

    def _read(self) -> tuple[Any, Any]:
        need("a reward model", "transformers")
        return _read(self.config.model, f"judges.{self.name}.model '{self.config.model}'")

    def _encode(self, tokenizer: Any, question: Question) -> Encoded:
        texts = (question.episode.prompt, question.episode.response)
        prompt, response = (without_specials(tokenizer, text) for text in texts)
        if tokenizer.chat_template is None:
            found = tokenizer(prompt, response)
        else:
            messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
            found = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)
        kinds = found.get("token_type_ids")
        return Encoded(tuple(found["input_ids"]), kinds=None if kinds is None else tuple(kinds))

    def _ask(self, batch: Sequence[Encoded], questions: Sequence[Question]) -> list[Verdict]:
        verdicts = []
        for row, question in zip(_logits(*self._load(), batch).tolist(), questions, strict=True):
            score = _score(row, question)
            said = f"logits {', '.join(f'{value:.3f}' for value in row)}"
            failed = Verdict(None, failure="unreadable", detail="the model computes NaN")
            verdicts.append(failed if math.isnan(score) else Verdict(score, rationale=said))
        return verdicts


def _read(source: str, name: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from rag_graph.generation.pretrained import reading

    with reading(name, "Give a Hugging Face id (with a network) or a folder of a sequence classifier."):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, about = AutoModelForSequenceClassification.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
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


@torch.no_grad()
def _logits(model: Any, tokenizer: Any, batch: Sequence[Encoded]) -> Tensor:
    """float32 [rows, labels]. Padded on the right: a classifier on top of a decoder reads the last token that is not the pad token."""
    pad = tokenizer.pad_token_id
    if pad is None:  # any id that no row holds
        used = {token for one in batch for token in one.ids}
        pad = next(token for token in range(len(used) + 1) if token not in used)
    model.config.get_text_config().pad_token_id = pad
    longest = max(len(one.ids) for one in batch)

    def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], device=model.device)

    kinds = [one.kinds for one in batch if one.kinds is not None]
    optional = {"token_type_ids": padded(kinds, 0)} if kinds else {}
    mask = padded([[1] * len(one.ids) for one in batch], 0)
    output = model(input_ids=padded([one.ids for one in batch], pad), attention_mask=mask, **optional)
    logits: Tensor = output.logits.float().cpu()
    return logits


def _score(logits: Sequence[float], question: Question) -> float:
    """In [0, 1], or NaN."""
    if any(math.isnan(value) for value in logits):
        return math.nan
    if len(logits) > 1:
        shares = torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()
        return float(sum(label * share for label, share in enumerate(shares)) / (len(logits) - 1))
    (logit,) = logits
    if question.scaled:
        return min(1.0, max(0.0, (logit - question.low) / (question.high - question.low)))
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
