"""The own side of an executor: its endpoints, answered in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from xooai import forks, sync
from xooai.call import Layer, asked_codec, entered, hops, remaining
from xooai.codec import CODECS, MSGPACK, Codec
from xooai.driver import EMPTY, MESSAGE_LIMIT, Head, Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, too_large
from xooai.lazy import lazy
from xooai.memory import MemoryChannel
from xooai.metadata import HOPS_HEADER, ID_HEADER, TIMING, Inquiry, metadata_of
from xooai.origin import AllBut, Fresh, Handed, Sure
from xooai.payload import all_pass, all_stand, from_here, handed_all, marks_but_own, marks_of, refuse_hidden, unfit
from xooai.schema import Schema
from xooai.server import Site
from xooai.shared_stores import Stores

if TYPE_CHECKING:
    from xooai import deadline, memory_stream, streams, warmup
    from xooai.threads import Threads
else:
    deadline = lazy("xooai.deadline")
    memory_stream = lazy("xooai.memory_stream")
    streams = lazy("xooai.streams")
    warmup = lazy("xooai.warmup")

__all__ = ["Local"]


_NONE_OWN = AllBut()
_HANDED = Handed()
_setting_up: ContextVar[tuple[Local, ...]] = ContextVar("xooai_setting_up", default=())


class _Owner(Protocol):
    """What is answered for: an executor, a Flow, a function."""

    @property
    def name(self) -> str: ...

    async def setup(self) -> None: ...


class _Declared(Protocol):
    """Its endpoints by name, and which attribute of the owner answers each."""

    @property
    def endpoints(self) -> Mapping[str, Endpoint]: ...

    @property
    def attributes(self) -> Mapping[str, str]: ...


class Local:
    """An executor as a site hosts it, and calls to it that never leave the process: the whole call stack, no socket."""

    def __init__(
        self,
        owner: _Owner,
        declared: _Declared,
        layers: tuple[Layer, ...],
        stores: Stores,
        has_setup: bool,
        threads: Threads | None = None,
    ) -> None:
        """`threads` are those of several, where it is to have none of its own."""
        self._owner = owner
        self._declared = declared
        self._heads: dict[str, dict[str, Head]] = {name: {} for name in CODECS}
        self._site: Site | None = None
        self._threads = threads
        self.layers = layers
        self.stores = stores
        self.is_set_up = not has_setup
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Forget a setup under way: in the child of a fork it never ends, so there it runs again."""
        self._lock = Lock()
        self._running: Future[None] | None = None

    @property
    def name(self) -> str:
        return self._owner.name

    def endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]:
        """The endpoints with the functions that answer them."""
        attributes = self._declared.attributes
        return [
            (endpoint, getattr(self._owner, attributes[name])) for name, endpoint in self._declared.endpoints.items()
        ]

    async def set_up(self) -> None:
        """Run the executor's `setup`, once, whoever comes first; again when it failed. Calls that it makes do not wait for it."""
        while not self.is_set_up and self not in _setting_up.get():
            with self._lock:
                first = self._running is None
                running = self._running = self._running or Future()
            if not first:
                await asyncio.wait([asyncio.wrap_future(running)])
                continue
            token = _setting_up.set((*_setting_up.get(), self))
            try:
                await self._owner.setup()
                self.is_set_up = True
            finally:
                _setting_up.reset(token)
                self._running = None
                running.set_result(None)

    async def warm(self, endpoint: Endpoint, done: set[object]) -> None:
        """Run the examples of an endpoint, where they are not among those that are `done`. Raises FailedPrecondition."""
        if endpoint.warmup and (self, endpoint.name) not in done:
            done.add((self, endpoint.name))
            await warmup.warm(f"/{self.name}/{endpoint.name}", endpoint, self._hosting().accept)

    async def warm_nodes(self, done: set[object]) -> None:
        """Run the examples of what a Flow calls in this process. Raises FailedPrecondition."""
        warm_nodes = getattr(self._declared, "warm_nodes", None)
        if warm_nodes is not None:
            await warm_nodes(done)

    def post(
        self, endpoint: Endpoint, arguments: dict[str, Any], metadata: Mapping[str, str] | None, codec: str | None
    ) -> Any:
        """Call a `def` endpoint: in this very thread, without a loop or a task, unless a loop runs here or time is limited."""
        if (
            not self.is_set_up
            or self.layers  # may wait
            or endpoint.batch is not None  # waits for other calls
            or remaining(None) is not None
            or asyncio._get_running_loop() is not None
        ):
            return sync.run(self.apost(endpoint, arguments, remaining(None), metadata, codec))
        chosen = MSGPACK if codec is None else asked_codec(codec)
        channel = self._opened(endpoint, arguments, None, metadata, chosen)
        channel.inline = True
        sync.drive(self._hosting().accept(channel))
        return _read(endpoint, chosen, channel)

    async def apost(
        self,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        codec: str | None,
    ) -> Any:
        """Call any endpoint from async code; a `def` handler runs in a worker thread."""
        if not self.is_set_up:
            _, timeout = await deadline.part_of(timeout, Local.set_up, self)
        if endpoint.batch is not None:
            endpoint = endpoint.for_(arguments)
        chosen = MSGPACK if codec is None else asked_codec(codec)
        channel = self._opened(endpoint, arguments, timeout, metadata, chosen)
        await self._hosting().accept(channel)
        if metadata is not None and isinstance(metadata, Inquiry):
            _answer(metadata, channel)
        return _read(endpoint, chosen, channel)

    def pass_on(
        self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None, inquiry: Inquiry | None
    ) -> Coroutine[Any, Any, Any]:
        """As `apost`, by a Flow: a document that is made of plain data on the way is a stranger's."""
        if type(arguments) is Sure and inquiry is None and not self.layers and self.is_set_up:
            return self.hand(endpoint, arguments, timeout)
        return self._pass_on(endpoint, arguments, timeout, inquiry)

    async def _pass_on(
        self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None, inquiry: Inquiry | None
    ) -> Any:
        if not self.is_set_up:
            _, timeout = await deadline.part_of(timeout, Local.set_up, self)
        endpoint.check(arguments)
        has_documents = endpoint.arguments.facts.documents
        if inquiry is not None or self.layers or endpoint.cache is not None:  # they look at frames
            channel = self._channel(endpoint, arguments, timeout, inquiry, MSGPACK)
            channel.marks = marks_but_own(arguments) if has_documents else _NONE_OWN
        elif has_documents and all_pass(endpoint, arguments):
            channel = MemoryChannel(self._head(endpoint, timeout, None, MSGPACK), b"")
            channel.marks = handed_all(arguments)
        elif isinstance(arguments, Fresh) and endpoint.batch is None and all_stand(endpoint, arguments):
            channel = MemoryChannel(self._head(endpoint, timeout, None, MSGPACK), None)
            channel.marks = Handed.of(arguments)
        else:
            channel = self._channel(endpoint, arguments, timeout, None, MSGPACK)
            channel.marks = marks_but_own(arguments, Handed) if has_documents else _HANDED
        channel.inline = asyncio._get_running_loop() is None
        await self._hosting().accept(channel)
        if inquiry is not None:
            _answer(inquiry, channel)
        return _read(endpoint, MSGPACK, channel)

    async def hand(self, endpoint: Endpoint, arguments: object, timeout: float | None) -> Any:
        """As `apost`, where what answers makes values of its own: arguments and reply go as the objects that they are."""
        channel = MemoryChannel(self._head(endpoint, timeout, None, MSGPACK), None)
        channel.marks = Handed.of(arguments)
        channel.inline = asyncio._get_running_loop() is None
        await self._hosting().accept(channel)
        marks = channel.reply_marks
        if type(marks) is Handed and marks.value is not None:
            return marks.value
        return _read(endpoint, MSGPACK, channel)

    async def open(
        self,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        codec: str | None,
    ) -> streams.Stream:
        """Open a call to an endpoint that streams; `arguments` are those but for the stream."""
        chosen = MSGPACK if codec is None else asked_codec(codec)
        given = EMPTY if metadata is None else metadata_of(metadata)
        return await self._open(endpoint, arguments, timeout, given, chosen, _Here)

    async def open_on(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> streams.Stream:
        """As `open`, by a Flow: see `pass_on`."""
        return await self._open(endpoint, arguments, timeout, EMPTY, MSGPACK, _PassedOn)

    async def _open(
        self,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        given: Mapping[str, str],
        chosen: Codec,
        frames_of: Callable[[memory_stream.MemoryStream], streams.Frames],
    ) -> streams.Stream:
        if not self.is_set_up:
            _, timeout = await deadline.part_of(timeout, Local.set_up, self)
        endpoint.check(arguments)
        if before := hops():  # this is counted as one more server over there
            given = {**given, HOPS_HEADER: str(before - 1)}
        head = Head(
            f"/{self.name}/{endpoint.name}", chosen.media_type, shape=endpoint.shape, timeout=timeout, metadata=given
        )
        head.is_named = ID_HEADER in given
        ours, theirs = memory_stream.MemoryStream.pair(head)
        frames = frames_of(ours)
        await ours.send(await frames.write(endpoint.arguments, chosen, arguments))
        if not endpoint.shape & Shape.CLIENT:
            await ours.end()
        ours.answered_by(self._hosting().accept(theirs))
        return streams.Stream(ours, endpoint, chosen, frames)

    def _opened(
        self,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        codec: Codec,
    ) -> MemoryChannel:
        endpoint.check(arguments)
        schema = endpoint.arguments
        if not schema.facts.documents:
            return self._channel(endpoint, arguments, timeout, metadata, codec)
        if entered.get() is not None:
            refuse_hidden(schema, arguments)
        channel = self._channel(endpoint, arguments, timeout, metadata, codec)
        channel.marks = marks_of(schema, arguments)
        return channel

    def _channel(
        self,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        codec: Codec,
    ) -> MemoryChannel:
        frame = codec.encode(endpoint.arguments, arguments)
        if len(frame) > MESSAGE_LIMIT:  # as a server would
            raise too_large(len(frame), MESSAGE_LIMIT, "the request")
        return MemoryChannel(self._head(endpoint, timeout, metadata, codec), frame)

    def _head(
        self, endpoint: Endpoint, timeout: float | None, metadata: Mapping[str, str] | None, codec: Codec
    ) -> Head:
        if timeout is None and metadata is None:  # the same head again: it is not changed once the call has begun
            heads = self._heads[codec.name]
            head = heads.get(endpoint.name)
            if head is None:
                head = heads[endpoint.name] = Head(f"/{self.name}/{endpoint.name}", codec.media_type)
        else:
            given = EMPTY if metadata is None else metadata_of(metadata)
            path = f"/{self.name}/{endpoint.name}"
            head = Head(path, codec.media_type, timeout=timeout, metadata=given)
            head.is_timed, head.is_named = TIMING in given, ID_HEADER in given
        return head

    def _hosting(self) -> Site:
        if self._site is None:
            site = Site((self,), self._threads)
            site.open()  # each call makes sure of the setup itself
            self._site = site
        return self._site

    def close(self) -> None:
        """End the worker threads."""
        if self._site is not None:
            self._site.threads.close()


class _Here:
    """Between items and frames that stay in this process: the marks of documents go beside them."""

    def __init__(self, channel: memory_stream.MemoryStream) -> None:
        self._channel = channel

    async def write(self, schema: Schema, codec: Codec, item: Any) -> bytes:
        if schema.facts.documents and entered.get() is not None:
            refuse_hidden(schema, item)
        self._channel.reply_marks = marks_of(schema, item)
        return codec.encode(schema, item)

    def read(self, schema: Schema, codec: Codec, frame: bytes) -> Any:
        try:
            return from_here(schema, codec, frame, self._channel.marks)
        except InvalidArgument as error:
            raise unfit(self._channel.head.path, error) from error


class _PassedOn(_Here):
    """As those, of what a Flow passes on: a document that is made of plain data on the way is a stranger's."""

    async def write(self, schema: Schema, codec: Codec, item: Any) -> bytes:
        self._channel.reply_marks = marks_but_own(item) if schema.facts.documents else _NONE_OWN
        return codec.encode(schema, item)


def _answer(inquiry: Inquiry, channel: MemoryChannel) -> None:
    """Tell how a call went of which no byte crossed a wire."""
    if channel.outcome is not None:
        inquiry.answered(0, 0, channel.outcome.codec, channel.outcome.metadata)


def _read(endpoint: Endpoint, codec: Codec, channel: MemoryChannel) -> Any:
    """The reply of a call that has ended. Raises the error that it ended with."""
    reply = channel.result()
    try:
        if channel.reply_marks:
            return from_here(endpoint.result, codec, reply, channel.reply_marks)
        return codec.decode(endpoint.result, reply, True)
    except InvalidArgument as error:
        raise unfit(channel.head.path, error) from error
