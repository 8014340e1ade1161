"""A judge at any endpoint of OpenAI's protocol: vLLM, llama.cpp, TGI, or hosted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from rag_graph.config import JudgeConfig
from rag_graph.display import one_line
from rag_graph.errors import need
from rag_graph.evaluation.calls import Raised, call_all
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.judges.cache import Cache, folder_of, key_of
from rag_graph.judges.chat import ChatModel, Reply
from rag_graph.judges.parse import Mark, parse_mark, parse_marks, parse_ranking, reason_in
from rag_graph.judges.prompt import TEMPLATE, check_template, render
from rag_graph.judges.requests import Request, requests_for
from rag_graph.judges.text import shown
from rag_graph.records import Asked

Progress = Callable[[int, int], object]
"""Called after each request: how many are done, of how many."""


class OpenAIJudge:
    """Questions about many answers become requests, at most `concurrency` at a time; what is in the cache is not asked.

    Args:
        name: as nodes name it.

    Attributes:
        on_progress: called while it is asked.

    Raises:
        MissingPackageError: the client or the cache is not installed.
        ConfigError: a template without a placeholder, no key, a base_url that is none.
    """

    def __init__(self, name: str, config: JudgeConfig) -> None:
        self.name, self.config = name, config
        self.template = TEMPLATE if config.template is None else config.template
        check_template(self.template, f"judges.{name}.template")
        self.model = ChatModel(name, config)
        need(f"the cache of judge '{name}'", *(["diskcache_community"] if config.cache_mb else []))
        self.on_progress: Progress | None = None

    @cached_property
    def cache(self) -> Cache:
        """Opened when it is first needed."""
        return Cache(folder_of(self.config.backend, self.config.model, self.config.base_url), self.config.cache_mb)

    def __repr__(self) -> str:
        return one_line("OpenAIJudge", repr(self.name), f"model {self.config.model!r}", self.config.base_url or "")

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question, in their order. A failure is a verdict; it is not kept in the cache."""
        requests = requests_for(questions, self.template, self.config.together, self.config.rank)
        verdicts: list[Verdict | None] = [None] * len(questions)
        for request, (reply, known) in zip(requests, self._replies(requests), strict=True):
            for places, verdict in zip(request.places, self._verdicts(request, reply, known), strict=True):
                for number, place in enumerate(places):
                    verdicts[place] = verdict if number == 0 else _again(verdict)
        return [verdict for verdict in verdicts if verdict is not None]

    def show(self, question: Question) -> str:
        """What would be sent for one question that is asked alone."""
        return render(self.template, "mark", [question])

    def _replies(self, requests: Sequence[Request]) -> list[tuple[Reply, bool]]:
        """Of each request the reply, and whether it was known."""
        keys = [self._key(request) for request in requests]
        known = [self.cache.get(key) for key in keys]
        replies = [_kept(found) for found in known]
        open_ones = [number for number, reply in enumerate(replies) if reply is None]
        done = len(requests) - len(open_ones)

        def on_reply(number: int, reply: Reply) -> None:
            nonlocal done
            request, done = requests[open_ones[number]], done + 1
            if reply.failure is None and all(mark.failure is None for mark in _marks(request, reply.text)):
                self.cache.put(
                    keys[open_ones[number]], {"text": reply.text, "tokens": [reply.tokens_in, reply.tokens_out]}
                )
            if self.on_progress is not None:
                self.on_progress(done, len(requests))

        if not open_ones:
            return [(reply, True) for reply in replies if reply is not None]
        prompts = [requests[number].text for number in open_ones]
        (asked,) = call_all([lambda: self.model.ask_all(prompts, on_reply)])
        if isinstance(asked, Raised):
            raise asked.error
        fresh = iter(asked)
        return [(next(fresh), False) if reply is None else (reply, True) for reply in replies]

    def _key(self, request: Request) -> str:
        config = self.config
        return key_of(
            {"backend": config.backend, "base_url": config.base_url, "model": config.model, "prompt": request.text}
            | {"max_tokens": config.max_tokens, "temperature": config.temperature}
        )

    def _verdicts(self, request: Request, reply: Reply, known: bool) -> list[Verdict]:
        """One per question of the request; what it cost is shared among them."""
        size = len(request.questions)
        marks = [Mark(None, reply.failure, reply.detail)] * size if reply.failure else _marks(request, reply.text)
        rationale = shown(reason_in(reply.text))
        verdicts = []
        for number, (question, mark) in enumerate(zip(request.questions, marks, strict=True)):
            if mark.value is None:
                score = None
            else:
                score = (
                    mark.value
                    if request.shape == "ranking"
                    else (mark.value - question.low) / (question.high - question.low)
                )
            asked = self._cost(reply, number, size)
            if known:
                asked = Asked(cached=True, saved=asked.money)
            verdicts.append(Verdict(score, asked, mark.failure, shown(mark.detail, 300), rationale))
        return verdicts

    def _cost(self, reply: Reply, number: int, size: int) -> Asked:
        """The share of one question of `size`: of tokens whole ones, so that all shares make the sum."""
        money = (reply.tokens_in * self.config.price_in + reply.tokens_out * self.config.price_out) / 1e6
        first = number == 0
        return Asked(
            money=money / size,
            seconds=reply.seconds / size,
            tokens_in=reply.tokens_in // size + (reply.tokens_in % size if first else 0),
            tokens_out=reply.tokens_out // size + (reply.tokens_out % size if first else 0),
            requests=1 / size,
        )


def _marks(request: Request, text: str) -> list[Mark]:
    if request.shape == "ranking":
        return parse_ranking(text, len(request.questions))
    if request.shape == "marks":
        return parse_marks(text, [(question.low, question.high) for question in request.questions])
    return [parse_mark(text, request.questions[0].low, request.questions[0].high)]


def _kept(found: Mapping[str, Any] | None) -> Reply | None:
    """The reply that the cache holds."""
    if found is None or not found.keys() >= {"text", "tokens"}:
        return None
    tokens_in, tokens_out = found["tokens"]
    return Reply(str(found["text"]), int(tokens_in), int(tokens_out))


def _again(verdict: Verdict) -> Verdict:
    """The verdict for an equal question, which cost nothing more."""
    return Verdict(verdict.score, Asked(cached=True), verdict.failure, verdict.detail, verdict.rationale)
