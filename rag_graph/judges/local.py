"""A local language model as a judge: its expected mark, read off the logits. It writes nothing.

The prompt ends where the mark would stand. The score is the mean of the marks, each weighted by the probability that it comes next, among the
marks alone (G-Eval: Liu et al. 2023, arXiv 2303.16634, eq. 1, with probabilities that are computed instead of sampled).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import JudgeConfig
from rag_graph.display import one_line
from rag_graph.errors import ConfigError, ModelError, need
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.evaluation.marks import marks_of, written
from rag_graph.judges.prompt import TEMPLATE, check_template, render
from rag_graph.judges.text import for_prompt
from rag_graph.records import Asked

SHOWN = 0.005
"""Marks of less probability are not named in a rationale."""
Ids = tuple[int, ...]
Progress = Callable[[int, int], object]
"""Called after each batch: how many questions are done, of how many."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a model reads of one question. Equal ones are read once.

    ids: of the tokens. marks: those of each mark, of a language model. kinds: of the tokens, where an encoder tells the two texts apart.
    """

    ids: Ids
    marks: tuple[Ids, ...] = ()
    kinds: Ids | None = None

    @property
    def length(self) -> int:
        """Tokens that are read at most."""
        return len(self.ids) + max(map(len, self.marks), default=1) - 1


class LocalModel:
    """What the judges on this machine share: a model that is loaded when it is first asked, and batches of like lengths.

    Attributes:
        on_progress: called while it is asked.
    """

    def __init__(self, name: str, config: JudgeConfig, device: str = "cpu") -> None:
        self.name, self.config, self.device = name, config, device
        self.on_progress: Progress | None = None
        self._loaded: tuple[Any, Any] | None = None

    def __repr__(self) -> str:
        return one_line(type(self).__name__, repr(self.name), f"model {self.config.model!r}")

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question, in their order. Tokens are those that were read; none is written.

        What the model cannot read whole is the failure `too_long`; it is never cut. Where the model computes NaN, the failure is `unreadable`.

        Raises:
            ModelError: the model cannot be loaded, or is of another kind.
        """
        if not questions:
            return []
        model, tokenizer = self._load()
        limit = positions_of(model, tokenizer)
        verdicts: list[Verdict | None] = [None] * len(questions)
        places: dict[tuple[Encoded, float, float, bool], list[int]] = {}
        for place, question in enumerate(questions):
            one = self._encode(tokenizer, question)
            if limit is not None and one.length > limit:
                why = f"{one.length:,} tokens with the prompt, and the model reads {limit:,}"
                verdicts[place] = Verdict(None, failure="too_long", detail=why)
            else:
                places.setdefault((one, question.low, question.high, question.scaled), []).append(place)
        order = sorted(places, key=lambda key: len(key[0].ids))  # rows of a batch have like lengths
        for start in range(0, len(order), self.config.batch_size):
            batch = order[start : start + self.config.batch_size]
            started = time.perf_counter()
            found = self._ask([key[0] for key in batch], [questions[places[key][0]] for key in batch])
            seconds = (time.perf_counter() - started) / len(batch)
            for key, verdict in zip(batch, found, strict=True):
                tokens = len(key[0].ids)
                asked = Asked(self.config.price_in * tokens / 1e6, seconds, tokens, requests=1)
                for number, place in enumerate(places[key]):
                    verdicts[place] = replace(verdict, asked=Asked(cached=True) if number else asked)
            if self.on_progress is not None:
                self.on_progress(start + len(batch), len(order))
        return [verdict for verdict in verdicts if verdict is not None]

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            model, tokenizer = self._read()
            half = torch.device(self.device).type == "cuda" and torch.cuda.is_bf16_supported()
            self._loaded = (model.to(device=self.device, dtype=torch.bfloat16 if half else None).eval(), tokenizer)
        return self._loaded

    def _read(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        raise NotImplementedError

    def _encode(self, tokenizer: Any, question: Question) -> Encoded:
        raise NotImplementedError

    def _ask(self, batch: Sequence[Encoded], questions: Sequence[Question]) -> list[Verdict]:
        """The verdicts on a batch, without what they cost."""
        raise NotImplementedError


class LocalJudge(LocalModel):
    """A language model.

    A scale of one token per mark takes one forward pass a batch. Where marks have several tokens, as 10 has in many models, each beginning of a mark is read
    beside the prompt: such a batch has more rows.

    Args:
        name: among the run's judges.
        config: `model` is a Hugging Face id, a folder, or 'package:NAME'; it is loaded before the first question, in bfloat16 on CUDA and in float32
            elsewhere. `batch_size`: prompts per forward pass.
        device: such as "cuda".

    Raises:
        ConfigError: a setting that a local model knows nothing of, or a template without a placeholder.
    """

    def __init__(self, name: str, config: JudgeConfig, device: str = "cpu") -> None:
        super().__init__(name, config, device)
        refuse_settings(name, config)
        self.template = TEMPLATE if config.template is None else config.template
        check_template(self.template, f"judges.{name}.template")

    def show(self, question: Question) -> str:
        """The prompt before the model's chat template, and which marks are read off. Loads no model."""
        marks = ", ".join(map(written, marks_of(question.low, question.high)))
        return f"{self._prompt(question)}\n\nThe score is the expected mark: the probabilities of {marks} as what comes next."

    def _prompt(self, question: Question) -> str:
        return render(self.template, "number", [question])

    def _read(self) -> tuple[Any, Any]:
        from rag_graph.generation.pretrained import load_pretrained

        try:
            return load_pretrained(self.config.model)
        except ModelError as error:
            where = f"judges.{self.name}.model"
            raise ModelError(str(error).replace("model.source", where).replace("model '", f"{where} '", 1)) from None

    def _encode(self, tokenizer: Any, question: Question) -> Encoded:
        text, templated = _rendered(tokenizer, without_specials(tokenizer, self._prompt(question)))
        before = "" if templated or _spaces_are_added(tokenizer) else " "
        ids = tuple(tokenizer(text, add_special_tokens=not templated)["input_ids"])
        if ids and not templated and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]
        marks = (
            _follows(tokenizer, text[-40:], before + written(mark)) for mark in marks_of(question.low, question.high)
        )
        return Encoded(ids, tuple(marks))

    def _ask(self, batch: Sequence[Encoded], questions: Sequence[Question]) -> list[Verdict]:
        found = self._probabilities(batch)
        return [_verdict(question, shares) for question, shares in zip(questions, found, strict=True)]

    @torch.no_grad()
    def _probabilities(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Of each mark, unnormalised: that it comes next and that no longer mark does, which begins with it."""
        model, tokenizer = self._load()
        rows = {
            (number, start): None for number, one in enumerate(batch) for mark in one.marks for start in _starts(mark)
        }
        log_probabilities: dict[tuple[int, Ids], Tensor] = {}
        keys = list(rows)
        for begin in range(0, len(keys), self.config.batch_size):
            part = keys[begin : begin + self.config.batch_size]
            logits = last_logits(
                model, [(*batch[number].ids, *start) for number, start in part], tokenizer.pad_token_id
            )
            log_probabilities |= zip(part, torch.log_softmax(logits.double(), dim=-1).cpu(), strict=True)
        found = []
        for number, one in enumerate(batch):
            whole = [
                float(sum(log_probabilities[number, mark[:end]][mark[end]] for end in range(len(mark))).exp())  # type: ignore[union-attr]
                for mark in one.marks
            ]
            found.append(_alone(one.marks, whole))
        return found


def _rendered(tokenizer: Any, prompt: str) -> tuple[str, bool]:
    """(the text that the model reads, whether a chat template made it)."""
    if tokenizer.chat_template is None:
        return f"{prompt}\n\nMark:", False
    from rag_graph.generation.chat import render_chat

    return render_chat(tokenizer, {"prompt": [{"role": "user", "content": prompt}]}), True


def _follows(tokenizer: Any, tail: str, text: str) -> Ids:
    """The token ids of a text as it follows the end of a prompt."""
    before, both = (tokenizer(one, add_special_tokens=False)["input_ids"] for one in (tail, tail + text))
    if both[: len(before)] == before and len(both) > len(before):
        return tuple(both[len(before) :])
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _spaces_are_added(tokenizer: Any) -> bool:
    one, two = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", " a"))
    return bool(one == two)


def _starts(mark: Ids) -> list[Ids]:
    return [mark[:end] for end in range(len(mark))]


def _alone(marks: Sequence[Ids], whole: Sequence[float]) -> list[float]:
    """Probabilities of the marks as they are, where those of longer marks are contained in those of their beginnings: 10 in 1."""
    alone = list(whole)
    for number, mark in enumerate(marks):
        shorter = [
            other
            for other in range(len(marks))
            if len(marks[other]) < len(mark) and mark[: len(marks[other])] == marks[other]
        ]
        if shorter:
            nearest = max(shorter, key=lambda other: len(marks[other]))
            alone[nearest] -= whole[number]
    return [probability if probability != probability else max(0.0, probability) for probability in alone]


def _verdict(question: Question, probabilities: Sequence[float]) -> Verdict:
    total = sum(probabilities)
    if not total > 0:
        why = "the model computes NaN" if total != total else "the model gives every mark the probability 0"
        return Verdict(None, failure="unreadable", detail=why)
    marks = marks_of(question.low, question.high)
    expected = sum(mark * probability for mark, probability in zip(marks, probabilities, strict=True)) / total
    likely = ", ".join(
        f"{written(mark)}: {probability / total:.2f}"
        for mark, probability in zip(marks, probabilities, strict=True)
        if probability / total >= SHOWN
    )
    rationale = f"expected mark {expected:.3f} ({likely}); a mark comes next with probability {total:.2g}"
    score = (expected - question.low) / (question.high - question.low)
    return Verdict(min(1.0, max(0.0, score)), rationale=rationale)


# ------------------------------------------------------------------ of all local judges


def refuse_settings(name: str, config: JudgeConfig, *more: str) -> None:
    """
    Raises:
        ConfigError: the config sets what only an endpoint knows, or one of `more`.
    """
    defaults = JudgeConfig(model=config.model)
    known = ("base_url", "together", "rank", *more)
    wrong = [setting for setting in known if getattr(config, setting) != getattr(defaults, setting)]
    if wrong:
        raise ConfigError(
            f"judges.{name}.{wrong[0]}: the back end '{config.backend}' knows nothing of it. Leave it out, or write backend: openai."
        )


def without_specials(tokenizer: Any, text: str) -> str:
    """The text with a space in each special token of the tokenizer, so that it stays text: no answer ends its own turn."""
    text = for_prompt(text)
    for token in sorted(tokenizer.all_special_tokens, key=len, reverse=True):
        if len(token) > 1 and not token.isalnum():
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def positions_of(model: Any, tokenizer: Any) -> int | None:
    """How many tokens a model reads; None where there is no limit."""
    need("a local judge", "transformers")
    from rag_graph.generation.model_checks import num_positions

    stated = [n for n in (num_positions(model.config), tokenizer.model_max_length) if n is not None and n < 10**9]
    return min(stated, default=None)


def last_logits(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """Logits after each row of ids, float32 [rows, V]; padded on the left, so that all rows end at the same place."""
    from rag_graph.generation.steps import optional_inputs
    from rag_graph.generation.tokens import pad_left

    ids, mask = pad_left(rows, pad_id, model.device)
    known = optional_inputs(model)
    inputs = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": 1}
    output = model(
        input_ids=ids, attention_mask=mask, use_cache=False, **{k: v for k, v in inputs.items() if k in known}
    )
    last: Tensor = output.logits[:, -1].float()
    return last
