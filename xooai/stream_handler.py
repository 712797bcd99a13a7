"""Handlers that stream: items in as they come, items out as they are made, in a loop or in worker threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from inspect import isawaitable
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from xooai import replies
from xooai.accept import form_of
from xooai.call import Call, Service, StreamCall, never
from xooai.codec import MSGPACK, Codec, codec_of, located
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, Unavailable
from xooai.handler import goes, sendable
from xooai.kept import Contents
from xooai.memory import MemoryChannel
from xooai.payload import from_here, from_peer, marks_of_reply
from xooai.schema import Schema
from xooai.steps import Steps, Taken
from xooai.threads import Threads

if TYPE_CHECKING:
    from xooai.timing import Timing

__all__ = ["stream_handler"]

FAIR = 16  # items between two looks at the clock,
TURN = (
    0.001  # seconds after which other calls have a turn: a generator and a window that never wait would keep the loop
)


def stream_handler(endpoint: Endpoint, function: Callable[..., Any], threads: Threads, contents: Contents) -> Service:
    """The service that answers calls to `endpoint`, which streams in one direction or both."""
    return (_many if endpoint.gives_stream else _single)(endpoint, function, threads, contents)


def _single(endpoint: Endpoint, function: Callable[..., Any], threads: Threads, contents: Contents) -> Service:
    promised = _Promised(endpoint)

    async def handle(call: Call) -> None:
        frames = _Frames(endpoint, call, promised, contents)
        timing = call.timing
        arguments = await frames.opening()
        incoming = _incoming(frames, call, arguments)
        try:
            try:
                if timing is not None:
                    result = await timing.run(function, arguments, endpoint.is_async, threads)
                elif endpoint.is_async:
                    result = await function(**arguments)
                else:
                    result = await threads.run(function, arguments)
            finally:
                if timing is not None:
                    timing.streamed()
            if timing is not None:
                timing.enter("encode")
            await frames.give(result)
        finally:
            for one in incoming:
                one.close()

    return handle


def _many(endpoint: Endpoint, function: Callable[..., Any], threads: Threads, contents: Contents) -> Service:
    promised = _Promised(endpoint)

    async def handle(call: Call) -> None:  # all in one: each wait goes through every coroutine on the way
        frames = _Frames(endpoint, call, promised, contents)
        arguments = await frames.opening()
        incoming = _incoming(frames, call, arguments)
        given: Any = None
        try:
            given = function(**arguments) if endpoint.is_async else Steps(partial(function, **arguments), threads)
            if isawaitable(given):  # an async def without a yield, which returns an iterator
                given = await given
            frame_of, offer, send, give = frames.maker(), frames.offer, frames.send, frames.give
            count, turned = 0, monotonic()
            async for item in given:
                frame = frame_of(item)
                if frame is None:
                    await give(item)
                elif offer(frame):
                    call.given += len(frame)
                    continue  # what it is offered to gives others their turn
                else:
                    await send(frame)
                count += 1
                if count == FAIR:
                    count = 0
                    if monotonic() - turned > TURN:
                        await asyncio.sleep(0)
                        turned = monotonic()
        finally:
            try:
                # Whatever ended the stream, a generator cleans up.
                close = getattr(given, "aclose", None)
                if close is not None:
                    await close()
            finally:
                if call.timing is not None:
                    call.timing.streamed()
                for one in incoming:
                    one.close()

    return handle


def _incoming(frames: _Frames, call: Call, arguments: dict[str, Any]) -> tuple[_Items | Taken, ...]:
    """The stream of the caller, put among the arguments, as what is to be closed when the call is over."""
    endpoint = call.endpoint
    if endpoint.items is None:
        return ()
    items = _Items(call, frames.reader(endpoint.items))
    if endpoint.is_async:
        arguments[endpoint.incoming] = items
        return (items,)
    arguments[endpoint.incoming] = taken = Taken(items)
    return (items, taken)


class _Frames:
    """The frames of one call as values of its endpoint's types. What holds for all of them is looked up once."""

    def __init__(self, endpoint: Endpoint, call: Call, promised: _Promised, contents: Contents) -> None:
        self._endpoint = endpoint
        self._call = call
        self._promised = promised
        self._codec = codec_of(call.head.codec)
        reply_codec = form_of(call.head.codec, call.head.accept).codec
        self._memory = call.channel if isinstance(call.channel, MemoryChannel) else None
        self._write = promised.writer(reply_codec, self._memory is None)
        self._media_type = reply_codec.media_type
        self._contents = contents
        self._is_ours = reply_codec is MSGPACK
        self.offer = call.offer if isinstance(call, StreamCall) else never

    async def opening(self) -> dict[str, Any]:
        """The arguments but for the stream; then the handler begins. Raises InvalidArgument."""
        timing = self._call.timing
        if timing is not None:
            timing.enter("decode")
        frame = await self._call.receive()
        if frame is None:
            raise InvalidArgument(
                f"{self._endpoint.name} was called without its opening frame: an object of its arguments"
            )
        self._call.taken += len(frame)
        arguments = dict(self.reader(self._endpoint.arguments)(frame))
        if timing is not None:
            timing.enter("handle")
        return arguments

    def reader(self, schema: Schema) -> Callable[[bytes], Any]:
        """What reads a frame of the caller; raises InvalidArgument."""
        memory, codec = self._memory, self._codec
        if memory is not None:
            return lambda frame: from_here(schema, codec, frame, memory.marks)
        if not schema.facts.documents:
            return partial(codec.decode, schema)
        return partial(from_peer, schema, codec, origin=self._contents.origin(self._call.head.identity))

    def maker(self) -> Callable[[Any], bytes | None]:
        """What makes the frame of an item; it says None where more is to be done than that, see `give`."""
        if not self._endpoint.result.facts.documents:
            return self._written
        return self._glanced if self._memory is None else _nothing

    def send(self, frame: bytes) -> Awaitable[None]:
        sent = self._call.send(frame, self._media_type)
        return sent if self._call.timing is None else _waited(self._call.timing, sent)

    async def give(self, item: Any) -> None:
        """Send a reply, or one of them; wait while the caller does not keep up."""
        self._promised.look(item)
        schema, memory = self._endpoint.result, self._memory
        if memory is None:
            if schema.facts.documents and not goes(item):
                way = self._contents.way(self._call.head.identity, is_ours=self._is_ours)
                item = await sendable(self._endpoint, item, way)
        elif self._endpoint.gives_stream:
            memory.reply_marks = marks_of_reply(schema, item, memory.marks)
        else:
            self._call.reply_marks = marks_of_reply(schema, item, memory.marks)
        await self.send(self._written(item))

    def _glanced(self, item: Any) -> bytes | None:
        return self._written(item) if goes(item) else None

    def _written(self, item: Any) -> bytes:
        self._promised.look(item)
        try:
            return self._write(item)
        except InvalidArgument as error:
            raise self._promised.unsendable(error) from error


def _nothing(item: Any) -> None:
    """The frame of an item that goes within this process, its marks beside it."""


async def _waited(timing: Timing, sent: Awaitable[None]) -> None:
    """Wait for the caller to take an item, which is no time of the handler."""
    began = perf_counter()
    try:
        await sent
    finally:
        timing.waited += perf_counter() - began


class _Promised:
    """What an endpoint promises to give, and how that is written."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._where = f"{endpoint.owner}.{endpoint.name}"
        self._schema = endpoint.result
        self._classes = replies.classes_of(endpoint.result.annotation)
        self._check = replies.check(endpoint.result)

    def writer(self, codec: Codec, is_for_peer: bool) -> Callable[[Any], bytes]:
        """What writes an item; raises InvalidArgument."""
        # Within this process the caller reads it right away, and is told the same.
        if self._check is None or not is_for_peer:
            return partial(codec.encode, self._schema)
        return partial(self._check.written, codec)

    def look(self, item: Any) -> None:
        """Raise TypeError for an item of another class."""
        if self._classes and not isinstance(item, self._classes):
            raise TypeError(f"{self._where} gave {type(item).__name__}, expected {replies.names_of(self._classes)}")

    def unsendable(self, error: InvalidArgument) -> TypeError:
        """About an item that cannot be written: the handler's mistake, not the caller's."""
        return TypeError(f"{self._where} gave what cannot be sent: {error}")


class _Items(AsyncIterator[Any]):
    """What the caller sends, one by one. Once the call is over there are none, and that is no end."""

    def __init__(self, call: Call, read: Callable[[bytes], Any]) -> None:
        self._call, self._receive = call, call.receive
        self._timing = call.timing
        self._read = read
        self._name = call.endpoint.incoming
        self._count = 0
        self._is_over = False
        self._is_closed = False

    async def __anext__(self) -> Any:
        if self._is_over:
            raise StopAsyncIteration
        if self._is_closed:
            raise Unavailable("the call is over; what was still to come of its stream is lost")
        if self._timing is None:
            frame = await self._receive()
        else:
            began = perf_counter()
            try:
                frame = await self._receive()
            finally:
                self._timing.waited += perf_counter() - began
        if frame is None:
            self._is_over = True
            raise StopAsyncIteration
        self._call.taken += len(frame)
        index = self._count
        self._count = index + 1
        try:
            return self._read(frame)
        except InvalidArgument as error:
            raise located(error, self._name, index) from None

    def close(self) -> None:
        """The call is over: for whom the handler gave this stream to."""
        self._is_closed = True
