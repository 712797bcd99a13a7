"""Calls that stream to a server: opened through a link, or through the layers of the client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from xooai.call import Call, Layer, StreamCall, asked_codec, carried, composed, entered, hops
from xooai.codec import Codec
from xooai.deadline import part_of, passed, within
from xooai.driver import EMPTY, Channel, DialOptions, Head, Link, Outcome, Shape
from xooai.endpoint import Endpoint
from xooai.errors import Code, InvalidArgument, Unavailable, XooaiError
from xooai.layers.retry import Retries, numbered
from xooai.lazy import lazy
from xooai.memory_stream import MemoryStream
from xooai.metadata import HOPS_HEADER, metadata_of
from xooai.origin import Origin
from xooai.payload import from_peer, refuse_hidden, to_peer, typed, unfit
from xooai.schema import Schema
from xooai.streams import Stream
from xooai.tracing import tracing
from xooai.way import Way

if TYPE_CHECKING:
    from xooai.layers import trace as traces
else:
    traces = lazy("xooai.layers.trace")

__all__ = ["Server", "open_stream"]


class Server(Protocol):
    """A server that calls go to."""

    server: str
    options: DialOptions
    codec: Codec
    metadata: Mapping[str, str]
    layers: tuple[Layer, ...]
    retries: Retries
    closed_at: float

    @property
    def origin(self) -> Origin:
        """Whom its documents come from."""

    def way(self, metadata: Mapping[str, str] | None, codec: Codec) -> Way:
        """The way of documents to it, for a call with this metadata, whose messages are written by this codec."""

    async def link(self) -> Link:
        """The link of the running loop."""


class _There:
    """Between items and the frames of a peer."""

    def __init__(self, where: str, way: Way, origin: Origin) -> None:
        self._where, self._way, self._origin = where, way, origin

    async def write(self, schema: Schema, codec: Codec, item: Any) -> bytes:
        if schema.facts.documents:
            if entered.get() is not None:
                refuse_hidden(schema, item)
            item = typed(schema, item)
        return codec.encode(schema, await to_peer(schema, item, self._way))

    def read(self, schema: Schema, codec: Codec, frame: bytes) -> Any:
        try:
            return from_peer(schema, codec, frame, self._origin)
        except InvalidArgument as error:
            raise unfit(self._where, error) from error


async def open_stream(
    remote: Server,
    executor: str,
    endpoint: Endpoint,
    arguments: dict[str, Any],
    timeout: float | None,
    codec: str | None,
    metadata: Mapping[str, str] | None,
) -> Stream:
    """Open a call to an endpoint over there that streams. `arguments` are those but for the stream. Raises XooaiError."""
    endpoint.check(arguments)
    chosen = remote.codec if codec is None else asked_codec(codec)
    path = f"/{executor}/{endpoint.name}"
    frames = _There(f"{remote.server}{path}", remote.way(metadata, chosen), remote.origin)
    opening, timeout = await part_of(timeout, partial(frames.write, endpoint.arguments, chosen), arguments)
    if timeout is not None and timeout <= 0:
        raise passed(timeout)
    own = {**carried(), **remote.metadata, **(EMPTY if metadata is None else metadata_of(metadata))}
    if before := hops():
        own[HOPS_HEADER] = str(before)
    head = Head(path, chosen.media_type, shape=endpoint.shape, timeout=timeout, metadata=own)
    channel = await (_layered(remote, endpoint, head, opening) if remote.layers else _opened(remote, head, opening))
    return Stream(channel, endpoint, chosen, frames)


async def _opened(remote: Server, head: Head, opening: bytes) -> Channel:
    """Open a call; once more, after a pause, where it surely has not begun."""
    made, began = 0, monotonic()
    end = None if head.timeout is None else began + head.timeout
    while True:
        try:
            if (tracer := tracing()) is not None:
                return await traces.opened(tracer, remote.server, head, opening, partial(_opened_once, remote))
            return await _opened_once(remote, head, opening)
        except XooaiError as error:
            if not error.never_ran or remote.closed_at >= began or not await remote.retries.wait(error, made, end):
                raise
            if remote.closed_at >= began:
                raise
        made += 1
        head = numbered(head, made, end)


async def _opened_once(remote: Server, head: Head, opening: bytes) -> Channel:
    link = await remote.link()
    takes = bool(head.shape & Shape.CLIENT)
    try:
        channel = await link.open(head, None if takes else opening)
    except XooaiError as error:
        error.never_ran, error._server = True, remote.server  # so drivers promise
        raise
    if not takes:
        return channel
    try:
        await channel.send(opening)
    except BaseException:
        channel.abort()
        raise
    return channel


async def _layered(remote: Server, endpoint: Endpoint, head: Head, opening: bytes) -> Channel:
    """The caller's end of a call that passes through the client's layers before it goes to the server."""
    ours, theirs = MemoryStream.pair(head)
    await ours.send(opening)
    if not head.shape & Shape.CLIENT:
        await ours.end()
    ours.answered_by(_through(remote, StreamCall(endpoint, theirs), theirs))
    return ours


async def _through(remote: Server, call: Call, theirs: MemoryStream) -> None:
    """Run a call through the layers; what they raise is what the caller gets."""
    try:
        if call.head.timeout is None:
            await composed(remote.layers, partial(_forward, remote))(call)
        else:
            await within(call.head.timeout, composed(remote.layers, partial(_forward, remote)), call)
        if call.reply is None and not call.head.shape & Shape.SERVER:
            raise Unavailable("a layer ended the call without an answer")
        await theirs.end(call.reply, Outcome(Code.OK, metadata=call.reply_metadata))
    except Exception as error:  # noqa: BLE001 - handed to the caller
        theirs.fail(error)


async def _forward(remote: Server, call: Call) -> None:
    """The innermost service, where there are layers."""
    opening = await call.receive()
    channel = await _opened(remote, call.head, opening or b"")
    sending = asyncio.ensure_future(_sent(call, channel)) if call.head.shape & Shape.CLIENT else None
    try:
        while (reply := await channel.receive()) is not None:
            await call.send(reply, call.head.codec)
            if not call.head.shape & Shape.SERVER:
                break
        outcome = channel.outcome
        if outcome is not None and outcome.metadata:
            call.reply_metadata.update(outcome.metadata)
    finally:
        channel.abort()  # one that has ended is none any more
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})


async def _sent(call: Call, channel: Channel) -> None:
    try:
        while (frame := await call.receive()) is not None:
            await channel.send(frame)
        await channel.end()
    except XooaiError:
        return  # the call has ended: who receives is told how
