"""A call that streams, as its caller holds it: items instead of frames."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import asynccontextmanager
from functools import partial
from inspect import isasyncgen
from itertools import count
from typing import Any, Protocol, Self

from pydantic import BaseModel

from xooai.codec import Codec, located
from xooai.driver import Channel, Shape
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition, InvalidArgument, Unavailable
from xooai.schema import Schema
from xooai.steps import Steps
from xooai.threads import Threads

__all__ = ["END", "Frames", "Replies", "Stream", "blocking", "fed", "opened", "source_of"]

_log = logging.getLogger("xooai")
END: Any = object()
"""What stands for an item where there are no more."""


class Frames(Protocol):
    """Between items and frames, for one call."""

    async def write(self, schema: Schema, codec: Codec, item: Any) -> bytes: ...

    def read(self, schema: Schema, codec: Codec, frame: bytes) -> Any: ...


class Stream:
    """An open call: `async with executor.open(on=...) as s: await s.send(item); item = await s.receive()`."""

    def __init__(self, channel: Channel, endpoint: Endpoint, codec: Codec, frames: Frames) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._codec = codec
        self._frames = frames
        self._has_ended = not endpoint.shape & Shape.CLIENT  # this side: else the request went with the opening
        self._is_over = False  # the other side
        self._is_closed = False
        self._failure: Exception | None = None
        self._sent = 0  # items that the channel took: the other side counts the same
        self._turn = asyncio.Lock()  # whoever sends: a channel takes one frame at a time

    _ended_by: Exception | None = None
    """What the other side, or the way to it, has ended the call with."""

    @property
    def endpoint(self) -> Endpoint:
        """What is called."""
        return self._endpoint

    @property
    def gives_stream(self) -> bool:
        """Whether there are many replies."""
        return self._endpoint.gives_stream

    async def send(self, item: Any) -> None:
        """Send one item; waits while the other side does not keep up. Raises the error that the call ended with.

        Several tasks may send: their items go one after another.
        """
        if self._has_ended:
            takes = self._endpoint.items is not None
            raise FailedPrecondition(
                "nothing can be sent after end()"
                if takes
                else f"{self._endpoint.name} takes no stream; all its arguments go with the opening"
            )
        async with self._turn:
            await self._channel.send(await self._written(item))
            self._sent += 1

    async def _written(self, item: Any) -> bytes:
        assert self._endpoint.items is not None
        try:
            return await self._frames.write(self._endpoint.items, self._codec, item)
        except InvalidArgument as error:
            raise located(error, self._endpoint.incoming, self._sent) from error

    async def end(self) -> None:
        """Say that nothing more is sent. Replies go on."""
        if not self._has_ended:
            self._has_ended = True
            async with self._turn:  # behind what another task sends
                await self._channel.end()

    async def receive(self) -> Any:
        """Return the next item, None once the other side has ended. Raises the error that the call ended with.

        Where an item may be None, `async for item in s` tells it from the end.
        """
        item = await self._next()
        return None if item is END else item

    async def _next(self) -> Any:
        if self._is_over:
            return END
        if self._is_closed:
            raise Unavailable("the call was left before its end")
        try:
            frame = await self._channel.receive()
        except Exception as error:
            self._is_over, self._ended_by = True, error
            if self._failure is not None:
                raise self._failure from None
            raise
        if frame is None:
            self._is_over = True
            return END
        return self._frames.read(self._endpoint.result, self._codec, frame)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await self._next()
        if item is END:
            raise StopAsyncIteration
        return item

    async def single(self) -> Any:
        """The reply of an endpoint that gives one."""
        item = await self._next()
        if item is END:
            raise Unavailable("the call ended without an answer")
        self._is_over = True
        return item

    def _fail(self, error: Exception) -> None:
        """End the call by an error of this side; who receives is told."""
        self._failure = self._failure or error
        self._channel.abort()

    def close(self) -> None:
        """Let go of the call; one that is not over is cancelled on the other side."""
        if not self._is_closed:
            self._is_closed = True
            if not (self._is_over and self._has_ended):
                self._channel.abort()

    async def aclose(self) -> None:
        """As `close`, and wait for what this side has begun for it."""
        self.close()


Opened = tuple[Stream, Any]
"""An open call, and what it is to be sent."""

_feeding: set[asyncio.Task[None]] = set()
"""Loops hold their tasks weakly: one of a stream that was forgotten would be collected before it is cancelled."""

_SOURCES = Threads(64)  # for blocking iterators of callers: each may hold a thread for as long as it waits


FAIR = 16  # items after which others have a turn: neither who gives them nor who takes them has to wait for anything


async def _each(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def _items(source: Any) -> AsyncIterator[Any]:
    """The items of an iterator, blocking or not, or of a list. A blocking one is asked in a thread."""
    if isinstance(source, AsyncIterable):
        return aiter(source)
    return _each(source) if isinstance(source, list | tuple | range) else Steps(partial(iter, source), _SOURCES)


async def _feed(stream: Stream, source: Any, fail: Callable[[Exception], None]) -> None:
    """Send the items of `source`. Its error is for `fail`; an error of the call is for who receives."""
    items: Any = None
    try:
        items = _items(source)
        for turn in count(1):
            item = await anext(items, END)
            if item is END:
                await stream.end()
                break
            if not await _passed(stream, await stream._written(item)):
                break
            if turn % FAIR == 0:
                await asyncio.sleep(0)
    except Exception as error:  # noqa: BLE001 - handed to who receives
        fail(error)
    except (SystemExit, KeyboardInterrupt) as error:  # they would end the loop
        failure = RuntimeError(f"what gives the items raised {error!r}")
        failure.__cause__ = error
        fail(failure)
    except asyncio.CancelledError:
        stream._fail(Unavailable("what gives the items was cancelled"))
        raise
    finally:
        if isinstance(items, Steps) or isasyncgen(items):
            await items.aclose()


async def _passed(stream: Stream, frame: bytes) -> bool:
    try:
        await stream._channel.send(frame)
    except Exception:  # noqa: BLE001 - the call has ended: who receives is told how
        return False
    stream._sent += 1
    return True


class fed:  # noqa: N801 - a context manager, used as those that are functions
    """An open call that is sent its items meanwhile. What becomes of the call when who gives them fails is up to `fail`: left
    to itself it ends, and that error is raised.

    No generator: the collector may find it before the one that it is used in, and a loop would close it under its feet.
    """

    def __init__(self, opening: Awaitable[Opened], fail: Callable[[Stream, Exception], None] = Stream._fail) -> None:
        self._opening, self._fail = opening, fail
        self._feeding: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Stream:
        self._stream, source = await self._opening
        if self._stream.endpoint.items is not None:
            feeding = asyncio.ensure_future(_feed(self._stream, source, partial(self._fail, self._stream)))
            self._feeding = feeding
            _feeding.add(feeding)
            feeding.add_done_callback(_feeding.discard)
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()
        feeding = self._feeding
        if feeding is not None:
            feeding.cancel()
            await asyncio.wait({feeding})
            if not feeding.cancelled() and (error := feeding.exception()) is not None:
                _log.error("what gives the items of a stream failed while it was closed", exc_info=error)


class Replies:
    """What `astream` gives: `async for` over the replies; where the endpoint gives one, `await` it."""

    def __init__(self, opening: Callable[[], Awaitable[Opened]]) -> None:
        self._opening = opening
        self._items: AsyncGenerator[Any, None] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        return self.single().__await__()

    async def single(self) -> Any:
        """The reply of an endpoint that gives one."""
        async with fed(self._opening()) as stream:
            if stream.gives_stream:  # only now it is known: without the class the server tells
                name = stream.endpoint.name
                raise InvalidArgument(f"{name} gives a stream of replies: async for item in astream({name!r}, ...)")
            return await stream.single()

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        if self._items is None:
            self._items = _given(self._opening)
        return self._items

    async def __anext__(self) -> Any:
        return await anext(self.__aiter__())

    async def aclose(self) -> None:
        """End the call, if it is still open."""
        if self._items is not None:
            await self._items.aclose()


async def _given(opening: Callable[[], Awaitable[Opened]]) -> AsyncGenerator[Any, None]:
    # Not a method: in a circle with its object it would outlive the loop that somebody left, until the next collection.
    async with fed(opening()) as stream:
        async for item in stream:
            yield item


def source_of(endpoint: Endpoint, given: dict[str, Any]) -> Any:
    """What gives the items of the stream, taken out of the arguments. Raises InvalidArgument."""
    name = endpoint.incoming if endpoint.batch is None else endpoint.batch.parameter
    if not name:
        return None
    source = given.pop(name, None)
    if isinstance(source, str | bytes | dict | BaseModel) or not isinstance(source, Iterable | AsyncIterable):
        raise InvalidArgument(
            f"{endpoint.name} takes a stream as {name!r}: an iterator, an async iterator or a list"
            + ("" if source is None else f", not {type(source).__name__}"),
            errors=[{"type": "is_instance_of", "loc": [name], "msg": "Input should give items"}],
        )
    return source


@asynccontextmanager
async def opened(opening: Awaitable[Opened]) -> AsyncIterator[Stream]:
    """An open call, for the length of a block."""
    stream, _ = await opening
    try:
        yield stream
    finally:
        stream.close()


def blocking(
    replies: Replies,
    run: Callable[[Coroutine[Any, Any, Any]], Any],
    leave: Callable[[Callable[[], Coroutine[Any, Any, Any]]], None],
) -> Iterator[Any]:
    """The replies one by one, each waited for by `run`. Leaving the loop ends the call, by `leave`."""
    items = replies.__aiter__()
    while (item := run(_next(items))) is not END:
        try:
            yield item
        except BaseException:  # left, or thrown into
            leave(items.aclose)
            raise


async def _next(items: AsyncGenerator[Any, None]) -> Any:
    return await anext(items, END)
