"""A judge at an endpoint: verdicts, costs, cache, concurrency; against a server on this machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_graph.config import JudgeConfig
from rag_graph.evaluation.judging import Question
from rag_graph.judges.openai_judge import OpenAIJudge
from rag_graph.records import Asked

Ask = Callable[..., Question]


@pytest.fixture
def judge_at(judge_server: Any) -> Callable[..., OpenAIJudge]:
    def make(**changes: Any) -> OpenAIJudge:
        return OpenAIJudge("a", JudgeConfig(**{"model": "m", "base_url": judge_server.url, "retries": 0, **changes}))

    return make


def answer_in(prompt: str) -> str:
    """The text in the block of the answer."""
    return re.findall(r"ANSWER BEGINS\]\n(.*)\n\[[0-9a-f]{16} ANSWER ENDS", prompt, re.DOTALL)[-1]


def test_marks_become_scores_and_costs(judge_server: Any, judge_at: Any, ask: Ask) -> None:
    judge_server.behave = lambda number, prompt: json.dumps(
        {"reason": "So.", "mark": {"good": 5, "bad": 1}[answer_in(prompt)]}
    )
    judge = judge_at(price_in=2.0, price_out=10.0)
    good, bad, same = judge.judge([ask("good"), ask("bad"), ask("good")])
    assert [one.score for one in (good, bad, same)] == [1.0, 0.0, 1.0]
    assert good.rationale == "So."
    assert good.asked.money == pytest.approx((100 * 2 + 10 * 10) / 1e6)
    assert (good.asked.tokens_in, good.asked.tokens_out, good.asked.requests, good.asked.cached) == (100, 10, 1, False)
    assert same.asked == Asked(cached=True)  # asked once
    assert len(judge_server.prompts) == 2


def test_what_is_known_is_not_asked_again(judge_server: Any, judge_at: Any, ask: Ask) -> None:
    first = judge_at().judge([ask("a")])
    (again,) = judge_at(price_in=10.0).judge([ask("a")])  # as another process would
    assert (again.score, again.asked) == (first[0].score, Asked(cached=True, saved=0.001))
    assert len(judge_server.prompts) == 1
    for changes in (
        {"model": "n"},
        {"temperature": 0.5},
        {"max_tokens": 9},
        {"template": "{answer}{question}{scale}"},
        {"cache_mb": 0},
    ):
        judge_at(**changes).judge([ask("a")])
    assert len(judge_server.prompts) == 6
    for quiet in ({"concurrency": 2}, {"timeout": 9.0}, {"price_in": 1.0}):
        judge_at(**quiet).judge([ask("a")])
    assert len(judge_server.prompts) == 6


def test_failures_are_missing_and_not_kept(judge_server: Any, judge_at: Any, ask: Ask) -> None:
    does = ["9", "I'm sorry, I can't.", "nonsense", ("status", 500)]
    judge_server.behave = lambda number, prompt: does[int(answer_in(prompt))]
    judge = judge_at()
    found = judge.judge([ask(str(number)) for number in range(4)])
    assert [(one.score, one.failure) for one in found] == [
        (None, "out_of_scale"), (None, "refusal"), (None, "unreadable"), (None, "server_error"),
    ]  # fmt: skip
    assert [one.asked.tokens_in for one in found] == [100, 100, 100, 0]  # what was written is paid for
    judge_server.behave = lambda number, prompt: "3"
    assert [one.score for one in judge.judge([ask(str(number)) for number in range(4)])] == [0.5] * 4
    assert len(judge_server.prompts) == 8


def test_several_questions_in_one_request_share_its_cost(judge_server: Any, judge_at: Any, ask: Ask) -> None:
    judge_server.behave = lambda number, prompt: '{"1": 5, "2": 0, "3": 7}'
    judge = judge_at(together=True, price_in=3.0)
    found = judge.judge([ask("a", "Kind?"), ask("a", "Rude?", low=0, high=1), ask("a", "True?")])
    assert [(one.score, one.failure) for one in found] == [(1.0, None), (0.0, None), (None, "out_of_scale")]
    assert [one.asked.tokens_in for one in found] == [34, 33, 33]
    assert sum(one.asked.requests for one in found) == pytest.approx(1)
    assert sum(one.asked.money for one in found) == pytest.approx(300 / 1e6)
    assert len(judge_server.prompts) == 1


def test_answers_to_one_prompt_are_ranked(judge_server: Any, judge_at: Any, ask: Ask) -> None:
    def behave(number: int, prompt: str) -> str:
        answers = re.findall(r"ANSWER \d BEGINS\]\n(.*)", prompt)
        best = sorted(range(len(answers)), key=lambda place: -len(answers[place]))
        return json.dumps({"ranking": [place + 1 for place in best]}) if answers else "4"

    judge_server.behave = behave
    found = judge_at(rank=True).judge([ask("a"), ask("aaa"), ask("aa"), ask("alone", prompt="Other?"), ask("aaa")])
    assert [one.score for one in found] == [0.0, 1.0, 0.5, 0.75, 1.0]
    assert len(judge_server.prompts) == 2


def test_requests_in_flight_are_limited_over_all_threads(judge_server: Any, judge_at: Any, ask: Ask) -> None:
    judge_server.behave = lambda number, prompt: ("sleep", 0.05, "4")
    judge, done = judge_at(concurrency=3), []
    judge.on_progress = lambda number, total: done.append((number, total))
    threads = [threading.Thread(target=judge.judge, args=([ask(f"{t} {n}") for n in range(6)],)) for t in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert judge_server.most == 3
    assert sorted(done) == sorted([(number, 6) for number in range(1, 7)] * 2)


def test_what_a_judge_writes_is_harmless(judge_server: Any, judge_at: Any, ask: Ask) -> None:
    judge_server.behave = lambda number, prompt: (
        '{"reason": "\x1b[31m\\u001b[2J\\ud800[red]<b>' + "x" * 3000 + '", "mark": 5}'.replace("\x1b", "\\u001b")
    )
    (found,) = judge_at().judge([ask("a")])
    # an escape that stands raw in JSON is an error of JSON, so only the number can be missing
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", found.rationale + found.detail)
    assert len(found.rationale) <= 2000
    found.rationale.encode()


def test_the_key_is_nowhere_on_disk(
    judge_server: Any, judge_at: Any, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    judge_server.behave = lambda number, prompt: '{"reason": "sk-very-secret", "mark": 4}'
    judge = judge_at()
    assert judge.judge([ask("a")])[0].score == 0.75
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any(b"very-secret" in content for content in written)
    assert "very-secret" not in repr(judge)


def test_what_would_be_sent(judge_at: Any, ask: Ask, judge_server: Any) -> None:
    shown = judge_at().show(ask("Yes."))
    judge_at().judge([ask("Yes.")])
    assert judge_server.prompts == [shown]
