"""Handlers that stream: items in as they come, items out as they are made, in a loop or in worker threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from inspect import isawaitable
from typing import Any

from xooai import replies
from xooai.accept import form_of
from xooai.call import Call, Service
from xooai.codec import Codec, codec_of
from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, Unavailable
from xooai.handler import sendable
from xooai.memory import MemoryChannel
from xooai.payload import from_here, from_peer, marks_of
from xooai.schema import Schema
from xooai.steps import Steps, Taken
from xooai.threads import Threads

__all__ = ["stream_handler"]

FAIR = 16  # items after which other calls have a turn: a generator and a window that never wait would keep the loop


def stream_handler(endpoint: Endpoint, function: Callable[..., Any], threads: Threads) -> Service:
    """The service that answers calls to `endpoint`, which streams in one direction or both."""
    promised = _Promised(endpoint)

    async def handle(call: Call) -> None:
        frames = _Frames(endpoint, call, promised)
        arguments = await frames.opening()
        items = _Items(frames, endpoint.items) if endpoint.items is not None else None
        taken = Taken(items) if items is not None and not endpoint.is_async else None
        if items is not None:
            arguments[endpoint.incoming] = items if taken is None else taken
        try:
            if endpoint.shape & Shape.SERVER:
                steps = None if endpoint.is_async else Steps(partial(function, **arguments), threads)
                await _give(frames, function(**arguments) if steps is None else steps)
            else:
                result = await function(**arguments) if endpoint.is_async else await threads.run(function, arguments)
                await frames.give(result)
        finally:
            if items is not None:
                items.close()
            if taken is not None:
                taken.close()

    return handle


async def _give(frames: _Frames, given: Any) -> None:
    if isawaitable(given):  # an async def without a yield, which returns an iterator
        given = await given
    try:
        turn = 0
        async for item in given:
            await frames.give(item)
            turn += 1
            if turn % FAIR == 0:
                await asyncio.sleep(0)
    finally:
        # Whatever ended the stream, a generator cleans up.
        close = getattr(given, "aclose", None)
        if close is not None:
            await close()


class _Frames:
    """The frames of one call as values of its endpoint's types."""

    def __init__(self, endpoint: Endpoint, call: Call, promised: _Promised) -> None:
        self._endpoint = endpoint
        self._call = call
        self._promised = promised
        self._codec = codec_of(call.head.codec)
        self._reply_codec = form_of(call.head.codec, call.head.accept).codec
        self._memory = call.channel if isinstance(call.channel, MemoryChannel) else None

    async def opening(self) -> dict[str, Any]:
        """The arguments but for the stream. Raises InvalidArgument."""
        found = await self.taken(self._endpoint.arguments)
        if found is None:
            raise InvalidArgument(
                f"{self._endpoint.name} was called without its opening frame: an object of its arguments"
            )
        return dict(found[0])

    async def taken(self, schema: Schema) -> tuple[Any] | None:
        """The next thing that the caller sends; None where it has ended."""
        frame = await self._call.receive()
        if frame is None:
            return None
        if self._memory is None:
            return (from_peer(schema, self._codec, frame),)
        return (from_here(schema, self._codec, frame, self._memory.marks),)

    async def give(self, item: Any) -> None:
        """Send a reply, or one of them; wait while the caller does not keep up."""
        endpoint, schema = self._endpoint, self._endpoint.result
        self._promised.look(item)
        if self._memory is None:
            if schema.facts.documents:
                item = await sendable(endpoint, item)
        elif endpoint.shape & Shape.SERVER:
            self._memory.reply_marks = marks_of(schema, item)
        else:
            self._call.reply_marks = marks_of(schema, item)
        frame = self._promised.written(self._reply_codec, item, self._memory is None)
        await self._call.send(frame, self._reply_codec.media_type)


class _Promised:
    """What an endpoint promises to give, and how that is written."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._where = f"{endpoint.owner}.{endpoint.name}"
        self._schema = endpoint.result
        self._classes = replies.classes_of(endpoint.result.annotation)
        self._check = replies.check(endpoint.result)

    def look(self, item: Any) -> None:
        """Raise TypeError for what is of another class."""
        if self._classes and not isinstance(item, self._classes):
            raise TypeError(f"{self._where} gave {type(item).__name__}, expected {replies.names_of(self._classes)}")

    def written(self, codec: Codec, item: Any, is_for_peer: bool) -> bytes:
        """The frame of an item. Within this process the caller reads it right away, and is told the same."""
        try:
            if self._check is None or not is_for_peer:
                return codec.encode(self._schema, item)
            return self._check.written(codec, item)
        except InvalidArgument as error:  # the handler's mistake, not the caller's
            raise TypeError(f"{self._where} gave what cannot be sent: {error}") from error


class _Items(AsyncIterator[Any]):
    """What the caller sends, one by one. Once the call is over there are none, and that is no end."""

    def __init__(self, frames: _Frames, schema: Schema) -> None:
        self._frames = frames
        self._schema = schema
        self._is_over = False
        self._is_closed = False

    async def __anext__(self) -> Any:
        if self._is_over:
            raise StopAsyncIteration
        if self._is_closed:
            raise Unavailable("the call is over; what was still to come of its stream is lost")
        found = await self._frames.taken(self._schema)
        if found is None:
            self._is_over = True
            raise StopAsyncIteration
        return found[0]

    def close(self) -> None:
        """The call is over: for whom the handler gave this stream to."""
        self._is_closed = True
