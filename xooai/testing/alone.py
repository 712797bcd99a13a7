"""A test on a loop of its own, which has to end empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["on_a_loop"]

SETTLE = 2.0  # seconds in which tasks of what has been closed have to end


class Patient(Protocol):
    """A class of tests."""

    @property
    def patience(self) -> float:
        """Seconds for one test."""


P = ParamSpec("P")
Own = TypeVar("Own", bound=Patient)


def on_a_loop(
    test: Callable[Concatenate[Own, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[Own, P], None]:
    """Run a test on a loop of its own. It fails when it leaves a task there, or an exception that nobody saw."""

    @wraps(test)
    def run(self: Own, /, *args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(_alone(test(self, *args, **kwargs), self.patience))

    return run


async def _alone(test: Coroutine[Any, Any, None], patience: float) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(repr(context)))
    async with asyncio.timeout(patience):
        await test
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=SETTLE)
    assert not left, f"what the test used was closed, and leaves behind {len(left)} tasks: {left}"
    assert not complaints, f"asyncio complains: {complaints}"
