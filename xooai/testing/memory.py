"""memory://name: calls between loops of one process, often in different threads. The driver to read before writing one.

What one end of a call tells the other is a callback on the other's loop. These come in the order in which they were told, and so
stand for the wire; all else is in `xooai.ends`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import msgspec

from xooai.driver import DialOptions, Driver, Head, ListenOptions, Outcome, Site
from xooai.ends import ClientEnd, End, ServerEnd
from xooai.errors import DeadlineExceeded, InvalidArgument, Unavailable
from xooai.metadata import ID_HEADER, IDEMPOTENCY_KEY, TIMING

__all__ = ["MemoryDriver", "xooai_driver"]

LOOK = 0.25  # seconds between looks for clients whose loop has ended: half of what a call that is left may take to be cancelled
STOP = 5.0  # seconds for cancelled calls to end; what then still runs has ignored its cancellation

_listeners: dict[str, MemoryListener] = {}


class _Across:
    """The far end, as the near one may touch it. Implements `xooai.ends.Peer`."""

    def __init__(self, near: End, far: End, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._near, self._far = near, far
        self._loop, self._context = loop, context

    def tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments, context=self._context)
        except RuntimeError:  # its loop has been closed
            self._near.on_left()

    def on_frame(self, frame: bytes) -> None:
        self.tell(self._far.on_frame, frame)

    def on_room(self, size: int) -> None:
        self.tell(self._far.on_room, size)

    def on_end(self, frame: bytes | None, outcome: Outcome) -> None:
        self.tell(self._far.on_end, frame, outcome)

    def on_left(self) -> None:
        self.tell(self._far.on_left)


class MemoryLink:
    """Calls to one name."""

    def __init__(self, name: str, options: DialOptions) -> None:
        self._name, self._options = name, options
        self._calls: WeakSet[ClientEnd] = WeakSet()
        self._is_closed = False

    async def open(self, head: Head, request: bytes | None = None) -> ClientEnd:
        listener = _listeners.get(self._name)
        if listener is None or self._is_closed:
            what = "the link has been closed" if self._is_closed else "nobody listens there"
            raise Unavailable(f"no call to memory://{self._name}: {what}")
        if head.timeout is not None and head.timeout <= 0:
            raise DeadlineExceeded(f"no time is left for the call: timeout={head.timeout:g} s")
        metadata = {name.lower(): value for name, value in head.metadata.items()}
        arriving = msgspec.structs.replace(head, metadata=metadata, peer="memory", identity="")
        arriving.is_timed, arriving.is_named = TIMING in metadata, ID_HEADER in metadata
        arriving.is_keyed = IDEMPOTENCY_KEY in metadata
        near, far = ClientEnd(head, self._options.message_limit), ServerEnd(arriving, listener.message_limit)
        near.peer = there = _Across(near, far, listener.loop, listener.context)
        far.peer = _Across(far, near, asyncio.get_running_loop(), copy_context())
        there.tell(listener.on_open, far, asyncio.get_running_loop())
        near.start()
        self._calls.add(near)
        if request is not None:
            await near.end(request)
        return near

    async def aclose(self) -> None:
        self._is_closed = True
        for call in list(self._calls):
            call.abort()


class MemoryListener:
    """Answers the calls to one name, on the loop where it was made."""

    def __init__(self, name: str, site: Site, options: ListenOptions) -> None:
        self.url = f"memory://{name}"
        self.loop, self.context = asyncio.get_running_loop(), copy_context()  # not that of whoever calls
        self.message_limit = options.message_limit
        self._name, self._site = name, site
        self._is_draining = False
        self._calls: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._callers: dict[ServerEnd, asyncio.AbstractEventLoop] = {}

    def on_open(self, end: ServerEnd, caller: asyncio.AbstractEventLoop) -> None:
        if self._is_draining:
            end.abort()
            return
        self._callers[end] = caller
        if self._looking is None:
            self._looking = self.loop.call_later(LOOK, self._look)
        end.task = call = self.loop.create_task(self._site.accept(end))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(lambda _: self._on_done(end))

    def _on_done(self, end: ServerEnd) -> None:
        end.abort()  # nothing happens where the site has ended it
        self._callers.pop(end, None)
        if not self._callers and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self) -> None:
        """Cancel the calls of those who can tell nothing any more, while nothing is told to them either."""
        self._looking = self.loop.call_later(LOOK, self._look)
        for end, caller in list(self._callers.items()):
            if caller.is_closed():
                end.on_left()

    async def aclose(self, grace: float = 0) -> None:
        if _listeners.get(self._name) is self:
            del _listeners[self._name]
        self._is_draining = True
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=STOP)


class MemoryDriver:
    """memory://name, where a name takes the place of host and port."""

    async def dial(self, url: str, options: DialOptions) -> MemoryLink:
        return MemoryLink(_name_in(url), options)

    async def listen(self, url: str, site: Site, options: ListenOptions) -> MemoryListener:
        name = _name_in(url)
        other = _listeners.get(name)
        if other is not None and not other.loop.is_closed():
            raise Unavailable(
                f"cannot listen at {url}: somebody in this process does; take another name, or stop that one"
            )
        listener = _listeners[name] = MemoryListener(name, site, options)
        return listener


def _name_in(url: str) -> str:
    name = urlsplit(url).netloc.lower()
    if not name:
        raise InvalidArgument(f"{url!r} names nothing; it is written memory://name")
    return name


def xooai_driver(scheme: str) -> Driver | None:
    """The driver for memory://."""
    return MemoryDriver() if scheme == "memory" else None
