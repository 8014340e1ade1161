"""What a server does, and what becomes of it: against a server on this machine, through the real client."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from rag_graph.config import JudgeConfig
from rag_graph.errors import ConfigError
from rag_graph.judges.chat import ChatModel, Reply


def settings(url: str, **changes: Any) -> JudgeConfig:
    return JudgeConfig(**{"model": "m", "base_url": url, "timeout": 5.0, "retries": 0, **changes})


def ask(url: str, **changes: Any) -> Reply:
    (reply,) = asyncio.run(ChatModel("a", settings(url, **changes)).ask_all(["Well?"]))
    return reply


def test_a_reply_with_its_tokens(judge_server: Any) -> None:
    reply = ask(judge_server.url, max_tokens=7, temperature=0.5)
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.failure) == ('{"mark": 4}', 100, 10, None)
    assert reply.seconds > 0
    assert judge_server.bodies == [
        {"messages": [{"role": "user", "content": "Well?"}], "model": "m", "max_tokens": 7, "temperature": 0.5}
    ]


BODY = b'{"choices": [{"message": {"content": "4"'


@pytest.mark.parametrize(
    ("does", "kind", "detail"),
    [
        (("status", 429), "rate_limit", "HTTP 429: not now"),
        (("status", 500), "server_error", "HTTP 500: not now"),
        (("status", 503), "server_error", "HTTP 503: not now"),
        (("status", 401), "rejected", "HTTP 401: not now"),
        (("status", 404), "rejected", "HTTP 404: not now"),
        (("half", BODY), "unreadable", "complete message body"),
        (("body", BODY), "unreadable", 'no reply of a chat model: {"choices"'),
        (("body", b""), "unreadable", "an empty body"),
        (("body", b"<html>\x1b[31m"), "unreadable", "no reply of a chat model: <html>"),
        (("body", b"[" * 100_000), "unreadable", "no reply of a chat model"),
        (("body", b'{"choices": []}'), "unreadable", "no reply of a chat model"),
        (("message", {"content": 4}), "unreadable", "a content that is no text: 4"),
        ("hang up", "unreachable", "disconnected"),
        ("", "empty", "the judge wrote nothing"),
        (
            ("message", {"content": None, "finish_reason": "length"}),
            "empty",
            "the judge wrote nothing within max_tokens",
        ),
        (("message", {"content": None, "refusal": "I will not."}), "refusal", "I will not."),
        (("message", {"content": "5", "finish_reason": "content_filter"}), "refusal", "the endpoint's filter"),
        (("sleep", 30, "4"), "timeout", "timed out"),
    ],
)
def test_failures_by_kind(judge_server: Any, does: Any, kind: str, detail: str) -> None:
    judge_server.behave = lambda number, prompt: does
    reply = ask(judge_server.url, timeout=0.2 if kind == "timeout" else 5.0)
    assert (reply.failure, detail in reply.detail) == (kind, True), reply.detail
    assert reply.detail.isprintable()
    assert len(judge_server.prompts) == 1


def test_a_server_that_is_down() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        reply = ask(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert reply.failure == "unreachable"
    assert "onnect" in reply.detail


@pytest.mark.parametrize("first", [("status", 429, {"Retry-After": "0.05"}), ("status", 500, {"retry-after-ms": "20"})])
def test_what_passes_is_tried_again(judge_server: Any, first: Any) -> None:
    judge_server.behave = lambda number, prompt: first if number < 2 else "4"
    assert ask(judge_server.url, retries=2).text == "4"
    assert len(judge_server.prompts) == 3


def test_a_server_says_how_long_to_wait(judge_server: Any) -> None:
    judge_server.behave = lambda number, prompt: ("status", 429, {"Retry-After": "0.7"}) if number == 0 else "4"
    reply = ask(judge_server.url, retries=1)
    assert reply.text == "4"
    assert reply.seconds >= 0.7


def test_what_does_not_pass_is_tried_so_often(judge_server: Any) -> None:
    judge_server.behave = lambda number, prompt: ("status", 500, {"retry-after-ms": "10"})
    assert ask(judge_server.url, retries=3).failure == "server_error"
    assert len(judge_server.prompts) == 4


def test_the_key_comes_from_the_environment_and_is_in_no_text(
    judge_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    judge_server.behave = lambda number, prompt: "your key is sk-very-secret: 4"
    reply = ask(judge_server.url, api_key_env="MY_KEY")
    assert judge_server.headers[0]["authorization"] == "Bearer sk-very-secret"
    assert reply.text == "your key is ***: 4"
    judge_server.behave = lambda number, prompt: ("body", b"key sk-very-secret")
    assert ask(judge_server.url, api_key_env="MY_KEY").detail == "no reply of a chat model: key ***"
    model = ChatModel("a", settings(judge_server.url, api_key_env="MY_KEY"))
    assert "very-secret" not in repr(model) + repr(model.config)


@pytest.mark.parametrize("key", ["sk-very-secret-and-rather-long", "sk-very-secret-and-rather-long\n"])
@pytest.mark.parametrize("before", range(150, 200, 7))
def test_no_part_of_the_key_is_in_a_detail(
    key: str, before: int, judge_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where a detail is cut within it, nor where the client quotes the header that it cannot send."""
    monkeypatch.setenv("MY_KEY", key)
    message = f"{'x' * before} {key.strip()} is wrong. {'Read the manual. ' * 9}"
    judge_server.behave = lambda number, prompt: (
        "status",
        401,
        {},
        json.dumps({"error": {"message": message}}).encode(),
    )
    reply = ask(judge_server.url, api_key_env="MY_KEY")
    assert reply.failure == "rejected"
    assert "sk-v" not in reply.detail


@pytest.mark.parametrize("key", ["sk-\x01secret", "sk-sécret"])
def test_what_is_no_key_is_said_without_it(key: str, judge_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="MY_KEY holds characters that no key has") as raised:
        ask(judge_server.url, api_key_env="MY_KEY")
    assert "cret" not in str(raised.value)


def test_a_server_of_ones_own_needs_no_key(judge_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert ask(judge_server.url).text == '{"mark": 4}'


def test_requests_in_flight_are_limited(judge_server: Any) -> None:
    judge_server.behave = lambda number, prompt: ("sleep", 0.05, "4")

    model, seen = ChatModel("a", settings(judge_server.url, concurrency=4)), []
    replies = asyncio.run(
        model.ask_all([str(number) for number in range(20)], lambda number, reply: seen.append(number))
    )
    assert [reply.text for reply in replies] == ["4"] * 20
    assert sorted(seen) == list(range(20))
    assert judge_server.most == 4


def test_what_a_model_does_not_take_is_not_sent_again(judge_server: Any) -> None:
    def behave(number: int, prompt: str) -> Any:
        for name in ("max_tokens", "temperature"):
            if name in judge_server.bodies[number]:
                error = {"message": f"Unsupported: '{name}'", "param": name, "code": "unsupported_parameter"}
                return "status", 400, {}, json.dumps({"error": error}).encode()
        return "4"

    judge_server.behave = behave
    model = ChatModel("a", settings(judge_server.url, max_tokens=7, concurrency=1))
    assert [reply.text for reply in asyncio.run(model.ask_all(["a", "b"]))] == ["4", "4"]
    sent = [set(body) - {"messages", "model"} for body in judge_server.bodies]
    assert sent == [
        {"max_tokens", "temperature"},
        {"max_completion_tokens", "temperature"},
        {"max_completion_tokens"},
        {"max_completion_tokens"},
    ]


def test_another_bad_request_is_rejected(judge_server: Any) -> None:
    error = {"message": "too long", "param": "messages", "code": "context_length_exceeded"}
    judge_server.behave = lambda number, prompt: ("status", 400, {}, json.dumps({"error": error}).encode())
    assert ask(judge_server.url)[-2:] == ("rejected", "HTTP 400: too long")
    judge_server.behave = lambda number, prompt: (
        "status",
        400,
        {},
        b'{"error": {"code": "content_filter", "message": "no"}}',
    )
    assert ask(judge_server.url)[-2:] == ("refusal", "HTTP 400: no")
