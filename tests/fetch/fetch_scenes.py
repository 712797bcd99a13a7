"""What tests of fetching have in common: to run, to read a whole, to look at a refusal."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

import pytest

from xooai import fetch
from xooai.errors import XooaiError
from xooai.fetch import FetchPolicy

__all__ = ["refusal", "scene", "whole"]

P = ParamSpec("P")


def scene(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Have a test be a coroutine, which ends in good time."""

    @functools.wraps(test)
    def ran(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return ran


async def whole(url: str, policy: FetchPolicy, start: int = 0, end: int | None = None) -> bytes:
    async with await fetch.open(url, policy, start, end) as fetched:
        return b"".join([chunk async for chunk in fetched])


async def refusal(kind: type[XooaiError], doing: Awaitable[object]) -> str:
    with pytest.raises(kind) as refused:
        await doing
    assert "\n" not in refused.value.message
    return refused.value.message
