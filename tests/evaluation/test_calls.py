"""Calls of anyone's functions: errors are kept, coroutines run at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rag_graph.evaluation.calls import Raised, call_all


class Meeting:
    """A coroutine ends when so many have begun: they end at all only if they run at the same time."""

    def __init__(self, number: int) -> None:
        self.missing = number
        self.all_here: asyncio.Event | None = None

    async def attend(self, value: int) -> int:
        self.all_here = self.all_here or asyncio.Event()
        self.missing -= 1
        if not self.missing:
            self.all_here.set()
        await self.all_here.wait()
        return value


def test_coroutines_run_at_the_same_time_and_keep_their_order() -> None:
    meeting = Meeting(3)
    found = call_all([lambda: meeting.attend(1), lambda: 7, lambda: meeting.attend(2), lambda: meeting.attend(3)])
    assert found == [1, 7, 2, 3]


def test_they_run_where_a_loop_is_running_already_as_in_a_notebook() -> None:
    async def notebook() -> list[Any]:
        meeting = Meeting(2)
        return call_all([lambda: meeting.attend(1), lambda: meeting.attend(2)])

    assert asyncio.run(notebook()) == [1, 2]


def test_all_batches_share_one_loop() -> None:
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    assert call_all([loop]) == call_all([loop]), "what a client keeps between two batches stays usable"


def test_an_error_is_kept_with_its_place() -> None:
    async def late() -> None:
        raise KeyError("late")

    first, second, third = call_all([lambda: 1 / 0, late, lambda: 3])
    assert isinstance(first, Raised)
    assert str(first) == "ZeroDivisionError: division by zero"
    line = test_an_error_is_kept_with_its_place.__code__.co_firstlineno + 4
    assert first.place(__file__) == f"test_calls.py:{line}"
    assert str(second) == "KeyError: 'late'"
    assert third == 3


class ClientError(Exception):
    pass


ClientError.__module__ = "httpx._exceptions"


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (ConnectionRefusedError("no"), True),
        (TimeoutError("slow"), True),
        (OSError("network is unreachable"), True),
        (ClientError("429"), True),
        (FileNotFoundError("words.txt"), False),
        (PermissionError("words.txt"), False),
        (ValueError("no"), False),
    ],
)
def test_an_outage_is_no_error_of_the_program(error: Exception, outage: bool) -> None:
    assert Raised(error).is_outage == outage


def test_an_interrupt_is_not_kept() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_all([lambda: asyncio.sleep(100), stop])
