"""The client's side of calls: an endpoint somewhere else as a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from xooai.annotations import executors_from
from xooai.call import Call, Layer, asked_codec, carried, checked_timeout, composed, entered, hops
from xooai.codec import MSGPACK, Codec, codec_of
from xooai.deadline import part_of
from xooai.describe import endpoint as describe_endpoint
from xooai.driver import EMPTY, Channel, DialOptions, Head, Link, Outcome, Shape, Started
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, NotFound, Unavailable, XooaiError
from xooai.layers.retry import Retries, numbered
from xooai.lazy import lazy
from xooai.links import Links
from xooai.memory import MemoryChannel
from xooai.metadata import HOPS_HEADER, Inquiry, metadata_of
from xooai.origin import Origin
from xooai.payload import from_peer, refuse_hidden, to_peer, typed, unfit
from xooai.tracing import tracing
from xooai.way import Way, room, stays

if TYPE_CHECKING:
    from xooai import elsewhere
    from xooai.layers import hedge as hedges
    from xooai.layers import trace as traces
    from xooai.shared_stores import Stores
else:
    hedges = lazy("xooai.layers.hedge")  # few clients have one
    traces = lazy("xooai.layers.trace")
    elsewhere = lazy("xooai.elsewhere")  # what keeps contents for a server, and reads those that it keeps

__all__ = ["Remote", "Retries", "Sent"]

T = TypeVar("T")
_UNARY = Shape.UNARY


_HEADS = 256  # endpoints × codecs: more than one program calls at one server


class Remote(msgspec.Struct, eq=False, weakref=True):
    """A server that calls go to. Holds one link a loop; dials on first use."""

    server: str
    options: DialOptions = msgspec.field(default_factory=DialOptions)
    codec: Codec = MSGPACK
    timeout: float | None = 60.0
    metadata: Mapping[str, str] = EMPTY
    layers: tuple[Layer, ...] = ()
    stores: Stores | None = None
    retries: Retries = msgspec.field(default_factory=Retries)
    closed_at: float = -inf
    """When this side closed a link last, in monotonic seconds: what was under way is not made anew."""
    hedge: float | None = None
    """Seconds after which a call that may run twice is made a second time, beside the first."""
    _origin: Origin | None = None
    _links: Links = None  # type: ignore[assignment] # made of server and options
    _heads: dict[tuple[str, str, str, str, int], Head] = {}
    _hopped: dict[int, Mapping[str, str]] = {}
    _known: dict[str, Mapping[str, Endpoint]] | None = None
    _is_plain: bool = True
    """Whether calls go through no layer."""

    def __post_init__(self) -> None:
        self.metadata = metadata_of(self.metadata) if self.metadata is not EMPTY else EMPTY
        if self.timeout is not None:
            self.timeout = checked_timeout(self.timeout)
            if self.timeout < 0:
                raise InvalidArgument(f"timeout={self.timeout:g} leaves no call any time; None means no limit")
        if self.hedge is not None:
            self.hedge = hedges.checked(self.hedge)
        self._is_plain = not self.layers and self.hedge is None
        self._links = Links(self.server, self.options)

    async def call(
        self,
        executor: str,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        codec: str | None,
        metadata: Mapping[str, str] | None,
    ) -> Any:
        """Call an endpoint over there. `timeout` in seconds; None for no limit. Raises XooaiError."""
        if endpoint.shape is not _UNARY:  # a server that tells the shape by the path would begin the stream
            raise endpoint.misshapen(_UNARY)
        if endpoint.batch is not None:
            endpoint = endpoint.for_(arguments)
        endpoint.check(arguments)
        codec_of_call = self.codec if codec is None else asked_codec(codec)
        schema = endpoint.arguments
        if schema.facts.documents:
            if entered.get() is not None:
                refuse_hidden(schema, arguments)
            arguments = typed(schema, arguments)
            if not stays(arguments, room(self.options.message_limit, codec_of_call)):
                reading = partial(to_peer, schema, way=self.way(metadata, codec_of_call))
                arguments, timeout = await part_of(timeout, reading, arguments)
        frame = codec_of_call.encode(schema, arguments)
        head = self._head(executor, endpoint.name, codec_of_call.media_type, timeout, metadata)
        if self._is_plain:
            began = monotonic()
            try:
                reply, outcome = await self._exchange(head, frame)
            except XooaiError as error:
                reply, outcome = await self._again(error, head, frame, endpoint, began)
        else:
            reply, outcome = await self._through_layers(endpoint, head, frame)
        reply_codec = outcome.codec
        if metadata is not None and isinstance(metadata, Inquiry):
            metadata.answered(len(frame), len(reply), reply_codec, outcome.metadata)
        try:
            if reply_codec != codec_of_call.media_type:
                codec_of_call = codec_of(reply_codec)
            return from_peer(endpoint.result, codec_of_call, reply, self.origin)
        except InvalidArgument as error:
            raise unfit(f"{self.server}{head.path}", error) from error

    async def forward(
        self,
        executor: str,
        endpoint: Endpoint,
        frame: bytes,
        codec: Codec,
        timeout: float | None,
        accept: str,
    ) -> tuple[bytes, str]:
        """Call an endpoint over there with a request that is written already: its reply as it came, and the media type of that.

        `accept` is the media type that the reply is to have, "" for that of the request.
        """
        head = self.heading(executor, endpoint.name, codec.media_type, timeout, accept)
        if self._is_plain:
            began = monotonic()
            try:
                reply, outcome = await self._exchange(head, frame)
            except XooaiError as error:
                reply, outcome = await self._again(error, head, frame, endpoint, began)
        else:
            reply, outcome = await self._through_layers(endpoint, head, frame)
        return reply, outcome.codec

    def heading(self, executor: str, endpoint: str, codec: str, timeout: float | None, accept: str) -> Head:
        """The head of a call with a request in `codec`; `accept` is the media type that the reply is to have, "" for the same."""
        return self._head(executor, endpoint, codec, timeout, None, "" if accept == codec else accept)

    def start(self, head: Head, frame: bytes, loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> Sent | None:
        """Make a call as `forward` does, which goes out at once; `told` is called when it has ended. None where it was not sent.

        `loop` is the running one, and nobody traces.
        """
        link = self._links.of(loop) if self._is_plain else None
        start = getattr(link, "start", None)  # see `xooai.driver.Starting`
        if start is None:
            return None
        began = monotonic()
        channel = start(head, frame, told)
        return None if channel is None else Sent(self, head, frame, channel, began)

    async def written(
        self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None
    ) -> tuple[bytes, float | None]:
        """The request of a call, for `forward`, with contents where it can read them; and the seconds left."""
        endpoint.check(arguments)
        schema = endpoint.arguments
        if schema.facts.documents and not stays(arguments, room(self.options.message_limit, self.codec)):
            reading = partial(to_peer, schema, way=self.way(None, self.codec))
            arguments, timeout = await part_of(timeout, reading, arguments)
        return self.codec.encode(schema, arguments), timeout

    async def _through_layers(self, endpoint: Endpoint, head: Head, frame: bytes) -> tuple[bytes, Outcome]:
        call = Call(endpoint, MemoryChannel(head, frame))
        await composed(self.layers, self._send)(call)
        if call.reply is None:
            raise Unavailable("a layer ended the call without an answer")
        return call.reply, Outcome(codec=call.reply_codec, metadata=call.reply_metadata)

    @property
    def origin(self) -> Origin:
        """Whom the documents of its replies come from."""
        if self._origin is None:
            self._origin = elsewhere.FromServer(self)
        return self._origin

    def way(self, metadata: Mapping[str, str] | None, codec: Codec) -> Way:
        """The way of documents to it, for a call with this metadata, whose messages are written by this codec."""
        return elsewhere.ToServer(self, metadata, codec)

    def _head(
        self,
        executor: str,
        endpoint: str,
        codec: str,
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        accept: str = "",
    ) -> Head:
        """The head of a call: the same one again where it says nothing of its own."""
        before, carry = (0, EMPTY) if entered.get() is None else (hops(), carried())
        is_usual = metadata is None and timeout == self.timeout and not carry
        if is_usual:
            found = self._heads.get((executor, endpoint, codec, accept, before))
            if found is not None:
                return found
        if metadata is None and not carry:
            own = self._with_hops(before) if before else self.metadata
        else:
            own = {**carry, **self.metadata, **(EMPTY if metadata is None else metadata_of(metadata))}
            if before:
                own = {**own, HOPS_HEADER: str(before)}
        found = Head(f"/{executor}/{endpoint}", codec, accept, timeout=timeout, metadata=own)
        if is_usual:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[executor, endpoint, codec, accept, before] = found
        return found

    def _with_hops(self, before: int) -> Mapping[str, str]:
        """The metadata of a call that came through so many servers: the same object again, which a driver writes once."""
        found = self._hopped.get(before)
        if found is None:
            found = self._hopped[before] = MappingProxyType({**self.metadata, HOPS_HEADER: str(before)})
        return found

    def _exchange(self, head: Head, frame: bytes | None) -> Awaitable[tuple[bytes, Outcome]]:
        """The request goes out, the reply comes in: its frame, and what came beside it."""
        if (tracer := tracing()) is not None:
            return traces.called(tracer, self.server, head, frame, self._exchanged)
        return self._exchanged(head, frame)

    async def _exchanged(self, head: Head, frame: bytes | None) -> tuple[bytes, Outcome]:
        link = self._links.of(asyncio.get_running_loop()) or await self.link()
        try:
            channel = await link.open(head, frame)
        except XooaiError as error:
            error.never_ran, error._server = True, self.server  # so drivers promise
            raise
        try:
            reply = await channel.receive()
        except XooaiError as error:
            self._note(error, channel)
            raise
        return self._replied(channel, reply)

    def _note(self, error: XooaiError, channel: Channel) -> None:
        """Say with an error where it is from."""
        error._server = self.server
        if channel.outcome is not None:
            error._beside = channel.outcome.metadata

    def _replied(self, channel: Channel, reply: bytes | None) -> tuple[bytes, Outcome]:
        outcome = channel.outcome
        if reply is None or outcome is None:
            raise Unavailable("the server ended the call without an answer")
        if self.retries.spent:
            self.retries.earn()
        return reply, outcome

    def _again(
        self, error: XooaiError, head: Head, frame: bytes | None, endpoint: Endpoint, began: float
    ) -> Awaitable[tuple[bytes, Outcome]]:
        """What a call gives that has failed, where it may be made anew; `began` in monotonic seconds is when its time did."""
        if self.closed_at >= began:  # by this side: another link would be one that nobody closes
            raise error
        return self.retries.again(error, partial(self._anew, frame, began), head, endpoint.idempotent, began)

    async def _anew(self, frame: bytes | None, began: float, head: Head) -> tuple[bytes, Outcome]:
        if self.closed_at >= began:
            raise Unavailable(f"the link to {self.server} has been closed", details={"retry": False})
        return await self._exchange(head, frame)

    def _hedged(self, head: Head, frame: bytes | None, hedge: float) -> Awaitable[tuple[bytes, Outcome]]:
        """As `_exchange`, with a second attempt beside the first where that is slow."""
        end = None if head.timeout is None else monotonic() + head.timeout

        async def attempt(number: int) -> tuple[bytes, Outcome]:
            return await self._exchange(numbered(head, number, end) if number else head, frame)

        return hedges.raced(attempt, hedge, self.retries)

    @property
    def is_leaving(self) -> bool:
        """Whether the server has said that it is about to stop, by the link that was used last."""
        near = self._links.near
        return near is not None and bool(getattr(near[1], "is_leaving", False))

    async def _send(self, call: Call) -> None:
        """The innermost service, where there are layers."""
        frame, began = await call.receive(), monotonic()
        try:
            if self.hedge is not None and call.endpoint.idempotent:
                reply, outcome = await self._hedged(call.head, frame, self.hedge)
            else:
                reply, outcome = await self._exchange(call.head, frame)
        except XooaiError as error:
            reply, outcome = await self._again(error, call.head, frame, call.endpoint, began)
        if outcome.metadata:
            call.reply_metadata.update(outcome.metadata)
        call.reply, call.reply_codec = reply, outcome.codec  # read already: its limit is the link's

    async def link(self) -> Link:
        """The link of the running loop."""
        return await self._links.get()

    async def found(
        self, look: Callable[[Mapping[str, Mapping[str, Endpoint]]], T], timeout: float | None
    ) -> tuple[T, float | None]:
        """What `look` finds among the executors over there, asked anew where it raises NotFound; and the seconds left."""
        if self._known is not None:
            try:
                return look(self._known), timeout
            except NotFound:
                self._known = None  # the server may have been started anew, with other endpoints
        known, timeout = await part_of(timeout, self.executors, timeout)
        return look(known), timeout

    async def executors(self, timeout: float | None) -> Mapping[str, Mapping[str, Endpoint]]:
        """All executors over there; asked once."""
        if self._known is None:
            try:
                found = await self.call("xooai", describe_endpoint(), {}, timeout, None, None)
            except NotFound as error:
                raise NotFound(
                    f"{self.server} does not describe itself: is it a xooai server? ({error.message})"
                ) from error
            self._known = executors_from(found, self.server)
        return self._known

    def forget(self) -> None:
        """Ask anew, the next time, what is over there."""
        self._known = None

    async def aclose(self) -> None:
        """Close the link of the running loop."""
        self.closed_at = monotonic()
        await self._links.aclose()

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The loops that have a link."""
        return self._links.loops()


class Sent:
    """A call that was sent by `Remote.start`."""

    __slots__ = ("_began", "_channel", "_error", "_frame", "_head", "remote")

    def __init__(self, remote: Remote, head: Head, frame: bytes, channel: Started, began: float) -> None:
        self.remote, self._head, self._frame, self._channel, self._began = remote, head, frame, channel, began
        self._error: XooaiError | None = None

    @property
    def path(self) -> str:
        """The executor and its endpoint."""
        return self._head.path[1:]

    def reply(self) -> tuple[bytes, str]:
        """What `Remote.forward` gives, once the call has ended. Raises XooaiError: see `again`."""
        channel = self._channel
        try:
            reply = channel.reply()
        except XooaiError as error:
            self.remote._note(error, channel)
            self._error = error
            raise
        reply, outcome = self.remote._replied(channel, reply)
        return reply, outcome.codec

    async def again(self, error: Exception, endpoint: Endpoint) -> tuple[bytes, str]:
        """What the call gives that has failed, where it may be made anew; else raises the error."""
        failed, self._error = self._error, None
        try:
            if failed is not error:  # it was answered, by what is no reply
                raise error
            reply, outcome = await self.remote._again(failed, self._head, self._frame, endpoint, self._began)
            return reply, outcome.codec
        finally:
            del error, failed  # or they would hold themselves, by the frames that they came through

    def abort(self) -> None:
        """End it now."""
        self._channel.abort()
