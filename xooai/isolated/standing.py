"""What stands in a server for an executor that lives in a process of its own: the same endpoints, whose calls go there unread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from xooai.accept import form_of
from xooai.call import Call, Layer, Service, never
from xooai.driver import Channel, Head, Outcome, Shape
from xooai.endpoint import Endpoint
from xooai.errors import Unavailable, XooaiError
from xooai.handler import Serving
from xooai.isolated.far import Far, sent_on
from xooai.kept import Contents
from xooai.lazy import lazy
from xooai.metadata import ID_HEADER
from xooai.shared_stores import NONE, Stores
from xooai.threads import Threads
from xooai.tracing import tracing

if TYPE_CHECKING:
    from xooai.layers import trace as traces
else:
    traces = lazy("xooai.layers.trace")

__all__ = ["DRIVER", "Standing"]

DRIVER = "isolated"
"""By which calls come to the process of an isolated executor, where they are counted once more."""


class Standing:
    """Implements `xooai.routes.Hosted`."""

    layers: tuple[Layer, ...] = ()  # those of the executor are where it is

    def __init__(self, name: str, endpoints: Mapping[str, Endpoint], path: str, stores: Stores = NONE) -> None:
        """`path` is the socket at which its process listens."""
        self.name = name
        self.stores = stores
        self._far = Far(name, path)
        self._endpoints = [replace(endpoint, warmup=()) for endpoint in endpoints.values()]

    @property
    def is_up(self) -> bool:
        """Whether its process takes calls."""
        return self._far.is_up

    def endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]:
        relay = _Relay(self._far)
        return [(endpoint, relay) for endpoint in self._endpoints]

    async def set_up(self) -> None:
        """Wait for its process to be ready."""
        await self._far.connected()

    async def aclose(self) -> None:
        await self._far.aclose()


class _Relay(Serving):
    """Passes calls on."""

    def __init__(self, far: Far) -> None:
        self._far = far

    def __call__(self, **arguments: Any) -> Any:
        raise NotImplementedError("it is a service")

    def service(self, endpoint: Endpoint, threads: Threads, contents: Contents) -> Service:
        return self._stream if endpoint.shape else self._unary

    async def _unary(self, call: Call) -> None:
        if call.timing is not None:
            call.timing.enter(None)  # its stages are those of its process
        frame = await call.receive()
        if frame is not None:
            call.taken = len(frame)
        end = await self._open(call, frame)
        call.is_passed_on = True
        try:
            reply = await end.receive()
        except XooaiError as error:
            raise self._told(error, call, end) from error
        call.reply = reply
        self._take(call, end.outcome)

    async def _stream(self, call: Call) -> None:
        sends = call.head.shape & Shape.CLIENT
        frame = None if sends else await call.receive()
        if frame is not None:
            call.taken = len(frame)
        end = await self._open(call, frame)
        lost: list[Exception] = []
        sending = (
            asyncio.get_running_loop().create_task(sent_on(partial(_received, call), end, lost)) if sends else None
        )
        try:
            await _given(call, end)
        except XooaiError as error:
            raise lost[0] if lost else self._told(error, call, end) from error
        finally:
            end.abort()  # nothing happens where it has ended
            if sending is not None:
                sending.cancel()
                await asyncio.wait({sending})
        self._take(call, end.outcome)

    async def _open(self, call: Call, frame: bytes | None) -> Channel:
        head, tracer = _head(call), tracing()
        if tracer is None:
            return await self._far.open(head, frame)
        return await traces.opened(tracer, f"{DRIVER}:{call.endpoint.owner}", head, frame, self._far.open)

    def _take(self, call: Call, outcome: Outcome | None) -> None:
        """How a call ended there is how it ends here."""
        if outcome is None:
            raise self._far.gone()
        if outcome.codec:
            call.reply_codec = outcome.codec
        if outcome.metadata:
            call.reply_metadata.update(outcome.metadata)

    def _told(self, error: XooaiError, call: Call, end: Channel) -> XooaiError:
        """An error as the caller is told it."""
        if isinstance(error, Unavailable) and not error.remote:
            return self._far.gone()
        if end.outcome is not None and end.outcome.metadata:
            call.reply_metadata.update(end.outcome.metadata)
        return error


def _head(call: Call) -> Head:
    """What a call opens with there: as the caller sent it, and as it is known here. A key has done its work."""
    head = call.head
    return Head(
        head.path,
        head.codec,
        head.accept,
        head.shape,
        call.remaining,
        {**head.metadata, ID_HEADER: call.id},  # the logs of both are to tell of the same call
        head.peer,
        head.identity,
        head.is_timed,
        False,
        DRIVER,
        head.is_named,
    )


async def _given(call: Call, end: Channel) -> None:
    """Give the caller all that comes from there, as fast as it takes it."""
    if not call.endpoint.gives_stream:
        call.reply = await end.receive()
        return
    offer: Callable[[bytes], bool] = getattr(call, "offer", never)
    media_type = ""
    while (frame := await end.receive()) is not None:
        media_type = media_type or form_of(call.head.codec, call.head.accept).codec.media_type
        if offer(frame):
            call.given += len(frame)
        else:
            await call.send(frame, media_type)


async def _received(call: Call) -> bytes | None:
    """What the caller sends next."""
    frame = await call.receive()
    if frame is not None:
        call.taken += len(frame)
    return frame
