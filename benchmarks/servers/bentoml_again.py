"""Calls between services of BentoML that its own client cuts off."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

T = TypeVar("T")

ATTEMPTS = (
    5  # of a call: BentoML's client closes its session every hundredth call, also under others that are under way
)


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """Call until it is not cut off."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(aiohttp.ClientError, RuntimeError):  # which a closed session raises
            return await call()
    return await call()
