"""Event loops for tests of HTTP, checked for what a test leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine, on a loop of each kind. No task, file or unheard exception may be left at the end."""
    complaints: list[dict[str, Any]] = []

    async def settled(scenario: Coroutine[Any, Any, Any]) -> Any:
        """Let those tasks end that are about to: a server's handshakes with clients that have left."""
        result = await scenario
        for _ in range(100):
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.01)
        return result

    request.param().close()  # libuv opens a pipe for the whole process with its first loop
    gc.collect()
    before = open_files()
    with asyncio.Runner(loop_factory=request.param) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        yield lambda scenario: runner.run(settled(scenario))
        gc.collect()
        left = asyncio.all_tasks(runner.get_loop())
    gc.collect()
    assert (left, complaints, open_files()) == (set(), [], before)
