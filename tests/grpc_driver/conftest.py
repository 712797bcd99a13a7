"""Event loops for tests of gRPC, checked for what a test leaves behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from grpc_poller import is_of_grpcio, poller

__all__ = ["poller"]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine, on a loop of each kind. No task or unheard exception may be left at the end."""
    complaints: list[dict[str, Any]] = []

    async def settled(scenario: Coroutine[Any, Any, Any]) -> Any:
        """Let those tasks end that are about to: grpcio's own, of calls that have ended."""
        result = await scenario
        for _ in range(1000):
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.005)
        return result

    gc.collect()
    gc.freeze()  # what is there by now stays: to look at all of it again takes long in a whole run
    with asyncio.Runner(loop_factory=request.param) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        yield lambda scenario: runner.run(settled(scenario))
        left = asyncio.all_tasks(runner.get_loop())
    gc.collect()
    assert (left, [told for told in complaints if not is_of_grpcio(str(told))]) == (set(), [])
