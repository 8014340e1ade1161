"""Calls of anyone's functions: errors are kept, coroutines run at the same time, on one event loop for all of them.

The loop runs in a thread of its own for as long as the process does. So it does not matter whether the caller has a loop already (a notebook has),
and what a function keeps between its calls, such as the connections of a client, stays on the same loop.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
_LOCK = threading.Lock()

OUTSIDE = ("aiohttp", "anthropic", "botocore", "grpc", "httpcore", "httpcore2", "httpx", "httpx2", "openai", "requests", "urllib3")
"""Packages whose errors say that something outside did not answer."""
OF_FILES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


class Raised:
    """What a call raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def is_outage(self) -> bool:
        """True where something outside did not answer, such as a judge that is down: not an error of the program."""
        if isinstance(self.error, OSError):  # connections, time-outs, addresses
            return not isinstance(self.error, OF_FILES)
        return any(kind.__module__.partition(".")[0] in OUTSIDE for kind in type(self.error).__mro__)

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"[:500]

    def place(self, file: str) -> str:
        """FILE:LINE in `file` where the error went through it, else where it was raised; empty if that is not known."""
        frames = traceback.extract_tb(self.error.__traceback__)
        mine = [frame for frame in frames if frame.filename == file] or frames
        return f"{os.path.basename(mine[-1].filename)}:{mine[-1].lineno}" if mine else ""


def call_all(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each call returns, or `Raised`. Those that return a coroutine run concurrently, beside the calls that follow."""
    found: list[Any] = []
    waiting: dict[int, Future[Any]] = {}
    try:
        for number, call in enumerate(calls):
            try:
                value = call()
            except Exception as error:  # anyone's code
                value = Raised(error)
            if inspect.isawaitable(value):
                waiting[number] = asyncio.run_coroutine_threadsafe(_awaited(value), _loop())
            found.append(value)
        for number, future in waiting.items():
            try:
                found[number] = future.result()
            except Exception as error:
                found[number] = Raised(error)
    except BaseException:  # the user interrupts
        for future in waiting.values():
            future.cancel()
        raise
    return found


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _loop() -> asyncio.AbstractEventLoop:
    with _LOCK:
        process = os.getpid()  # a forked process has no thread of its parent's
        if process not in _LOOPS:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="rag_graph functions", daemon=True).start()
            _LOOPS[process] = loop
        return _LOOPS[process]
