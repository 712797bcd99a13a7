"""How a server ends: not ready first, then without further calls, and at last without those that took too long."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from xooai.driver import Listener
from xooai.errors import InvalidArgument
from xooai.log import logger
from xooai.server import Site

__all__ = ["Ending", "all_closed", "check"]

_LOG = logger("xooai")


def check(grace: object, delay: object) -> None:
    """Raise InvalidArgument for what is no number of seconds."""
    for name, given in (("grace", grace), ("drain_delay", delay)):
        if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
            raise InvalidArgument(
                f"{name}={repr(given)[:80]} is no number of seconds; it takes one from 0 on, as {name}=30"
            )


class Ending:
    """How one server is to end, and how it did. Belongs to its loop."""

    def __init__(self, grace: float, delay: float = 0) -> None:
        """For `delay` seconds it says that it is not ready and answers as before, so that balancers find out and send nothing
        more. Then it takes no further calls, and those under way have `grace` seconds. Raises what `check` does.
        """
        check(grace, delay)
        self.grace, self.delay = grace, delay
        self.forced = asyncio.Event()
        """Once it is set nothing is waited for."""
        self.cut = 0
        """How many calls were cut off."""

    async def end(self, site: Site, listeners: Sequence[Listener]) -> None:
        """End the calls of a site, and close its listeners."""
        is_ready = site.ready()  # before it is, no call is under way
        site.drain()
        if is_ready and self.delay:
            await self._delayed()
        await self._close(site, listeners, self.grace if is_ready else 0)
        self.cut = site.cut + _left()
        if self.cut:
            self._tell()
            # Threads that the loop has started for them may go on: then nobody waits for these.
            asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))

    async def _delayed(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.delay):
                await self.forced.wait()

    async def _close(self, site: Site, listeners: Sequence[Listener], grace: float) -> None:
        site.cut_after(grace)
        closing = asyncio.ensure_future(_closed(site, listeners, grace))
        waiting = asyncio.ensure_future(self.forced.wait())
        await asyncio.wait({closing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            site.cut_after(0)
            closing.cancel()
            await asyncio.wait({closing})
            await _closed(site, listeners, 0)
        waiting.cancel()
        await asyncio.wait({waiting})

    def _tell(self) -> None:
        calls = "1 call was" if self.cut == 1 else f"{self.cut} calls were"
        when = "by a second signal" if self.forced.is_set() else f"at the end of the grace of {self.grace:g} seconds"
        _LOG.error("%s cut off %s", calls, when)


async def _closed(site: Site, listeners: Sequence[Listener], grace: float) -> None:
    """Close listeners, then let end what goes on without its caller, all within the grace."""
    end = monotonic() + grace
    await all_closed(listeners, grace)
    await site.finish(end - monotonic())


async def all_closed(listeners: Sequence[Listener], grace: float) -> None:
    """Close listeners at once, whatever one of them raises."""
    await asyncio.gather(*(listener.aclose(grace) for listener in listeners), return_exceptions=True)


def _left() -> int:
    """How many calls have ignored their cancellation: nobody waits for them any more, as who closes the loop would."""
    left = [task for task in asyncio.all_tasks() if task.cancelling() and task is not asyncio.current_task()]
    for task in left:
        asyncio._unregister_task(task)
        task._log_destroy_pending = False  # type: ignore[attr-defined] # said here, in our words
    return len(left)
