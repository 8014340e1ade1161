"""One chat model at an endpoint of OpenAI's protocol: a text goes there, its reply comes back, or why there is none."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from rag_graph.config import JudgeConfig
from rag_graph.errors import ConfigError, need
from rag_graph.evaluation.judging import FailureKind
from rag_graph.judges.text import in_line

if TYPE_CHECKING:
    import openai

LONGEST_PAUSE_S = 60.0
"""Between two tries; the client waits no longer, whatever a server asks for."""


INSTEAD = {"max_tokens": "max_completion_tokens", "temperature": ""}
"""Parameter that some models refuse -> its new name; empty: it is left out."""


class Reply(NamedTuple):
    """What came back. seconds: of waiting, pauses between tries included."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    failure: FailureKind | None = None
    detail: str = ""


class ChatModel:
    """
    Args:
        name: of the judge, for errors.

    Raises:
        MissingPackageError: the client is not installed.
        ConfigError: no key for an endpoint that needs one, or a key where it would be written down.
    """

    def __init__(self, name: str, config: JudgeConfig) -> None:
        need(f"judge '{name}'", "openai")
        self.config = config
        self.key = os.environ.get(config.api_key_env, "").strip()
        if not (self.key.isascii() and self.key.isprintable()):
            raise ConfigError(
                f"judges.{name}: the environment variable {config.api_key_env} holds characters that no key has. Copy the key again: one line of ASCII."
            )
        if config.base_url is not None:
            parts = urlsplit(config.base_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(
                    f"judges.{name}.base_url: {in_line(config.base_url)!r} is no address. Write it as in http://127.0.0.1:8000/v1."
                )
        elif not self.key:
            raise ConfigError(
                f"judges.{name}: the environment variable {config.api_key_env} holds no key. Set it, or name your server's address in base_url: a server "
                "of your own may need no key."
            )
        self._instead: dict[str, str] = {}
        self._places: tuple[int, asyncio.Semaphore] | None = None

    async def ask_all(
        self, prompts: Sequence[str], on_reply: Callable[[int, Reply], object] = lambda n, reply: None
    ) -> list[Reply]:
        """The reply to each prompt. At most `concurrency` requests are in flight, over all calls together; whoever waits between two tries keeps its place.

        Args:
            on_reply: called with the number of a prompt and its reply, when that is there.
        """
        import openai

        async def one(number: int, prompt: str) -> Reply:
            async with self._free_place():
                reply = await self._ask(client, prompt)
            on_reply(number, reply)
            return reply

        async with openai.AsyncOpenAI(
            api_key=self.key or "none",
            base_url=self.config.base_url,
            timeout=self.config.timeout,
            max_retries=self.config.retries,
        ) as client:
            return list(await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts))))

    async def _ask(self, client: openai.AsyncOpenAI, prompt: str) -> Reply:
        started = time.perf_counter()
        try:
            async with asyncio.timeout((self.config.retries + 1) * (self.config.timeout + LONGEST_PAUSE_S)):
                reply = _read(await self._send(client, prompt))
        except Exception as error:  # whatever the client raises came from outside: it is counted, and the run goes on
            reply = Reply("", 0, 0, 0.0, *_why(error))
        seconds = time.perf_counter() - started
        return reply._replace(
            seconds=seconds, detail=self._without_its_start(reply.detail), text=self._without_key(reply.text)
        )

    async def _send(self, client: openai.AsyncOpenAI, prompt: str) -> bytes:
        """The body that came back. Some models take no `max_tokens`, or no temperature: what one of them refused is not sent again."""
        from openai import BadRequestError

        while True:
            settings = {"max_tokens": self.config.max_tokens, "temperature": self.config.temperature}
            sent: dict[str, Any] = {self._instead.get(name, name): value for name, value in settings.items()}
            sent.pop("", None)
            try:
                response = await client.chat.completions.with_raw_response.create(
                    model=self.config.model, messages=[{"role": "user", "content": prompt}], **sent
                )
            except BadRequestError as error:
                if error.param not in sent or error.param not in INSTEAD:
                    raise
                self._instead[error.param] = INSTEAD[error.param]
            else:
                body: bytes = response.content
                return body

    def _free_place(self) -> asyncio.Semaphore:
        """Of this process: a forked one has an event loop of its own."""
        if self._places is None or self._places[0] != os.getpid():
            self._places = (os.getpid(), asyncio.Semaphore(self.config.concurrency))
        return self._places[1]

    def _without_key(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text

    def _without_its_start(self, detail: str) -> str:
        """Without the key, nor the part of it where a detail was cut off."""
        head = self._without_key(detail).removesuffix("…")
        for size in range(min(len(self.key), len(head)), 3, -1):
            if head.endswith(self.key[:size]):
                return f"{head[:-size]}***…"
        return self._without_key(detail)


def _read(body: bytes) -> Reply:
    """A body of the protocol; what is not of it is unreadable."""
    try:
        content = json.loads(body)
        choice = content["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content") or "", message.get("refusal") or ""
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        shown = in_line(body[:400].decode("utf-8", "replace"))
        return Reply("", failure="unreadable", detail=f"no reply of a chat model: {shown or 'an empty body'}")
    usage = content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    if not isinstance(text, str):
        return Reply("", *tokens, failure="unreadable", detail=f"a content that is no text: {in_line(str(text))}")
    if refusal or choice.get("finish_reason") == "content_filter":
        return Reply(
            text, *tokens, failure="refusal", detail=in_line(str(refusal)) or "the endpoint's filter stopped the reply"
        )
    if not text.strip():
        cut = choice.get("finish_reason") == "length"
        return Reply(
            "", *tokens, failure="empty", detail=f"the judge wrote nothing{' within max_tokens' if cut else ''}"
        )
    return Reply(text, *tokens)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _why(error: Exception) -> tuple[FailureKind, str]:
    """What an error of the client means."""
    import openai

    said = in_line(f"{type(error).__name__}: {error}")
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "timeout", said
    if isinstance(error, openai.APIStatusError):
        said = in_line(f"HTTP {error.status_code}: {error.message.removeprefix(f'Error code: {error.status_code} - ')}")
        if error.status_code == 429:
            return "rate_limit", said
        if error.status_code == 408:
            return "timeout", said
        if error.status_code >= 500:
            return "server_error", said
        return ("refusal" if error.code == "content_filter" else "rejected"), said
    cause = error.__cause__ or error
    if isinstance(error, openai.APIConnectionError):
        said = in_line(f"{type(cause).__name__}: {cause}")
    if "complete message body" in str(cause) or type(cause).__name__ == "DecodingError":
        return "unreadable", said
    return "unreachable", said
