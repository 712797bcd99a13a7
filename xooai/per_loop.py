"""One of something for each event loop, let go of when its loop ends at the latest."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from xooai import forks

__all__ = ["PerLoop"]


class Closable(Protocol):
    """What is let go of by `aclose`."""

    async def aclose(self) -> None: ...


T = TypeVar("T", bound=Closable)


async def _kept(thing: Closable) -> AsyncGenerator[None, None]:
    """Close a thing with its loop at the latest: asyncio.run ends the async generators that are open on a loop."""
    try:
        yield
    finally:
        await thing.aclose()


class PerLoop(Generic[T]):
    """What `make` makes, once for each loop that asks."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin with nothing, in the child of a fork."""
        if hasattr(self, "_things"):
            forks.LEFT.append((self._things, self._keepers))
        self._things: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        self._keepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = (
            weakref.WeakKeyDictionary()
        )

    async def get(self) -> T:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        thing = self._things.get(loop)
        if thing is None:
            known = [other for one in self._things.keyrefs() if (other := one()) is not None]  # other threads add some
            for closed in [other for other in known if other.is_closed()]:  # what they had holds them
                self._things.pop(closed, None)
                self._keepers.pop(closed, None)
            thing, keeper = await _begun(self._make)
            if loop in self._things:  # another was first
                await keeper.aclose()
                return self._things[loop]
            self._things[loop], self._keepers[loop] = thing, keeper
        return thing

    async def aclose(self) -> None:
        """Let go of that of the running loop."""
        loop = asyncio.get_running_loop()
        self._things.pop(loop, None)
        keeper = self._keepers.pop(loop, None)
        if keeper is not None:
            await keeper.aclose()

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The loops that have one."""
        return list(self._things)


async def _begun(make: Callable[[], Awaitable[T]]) -> tuple[T, AsyncGenerator[None, None]]:
    thing = await make()
    keeper = _kept(thing)
    await anext(keeper)
    return thing, keeper
