"""What the calls of one listener share: the site, the limits, the calls under way; and each call as gRPC brings it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool

from xooai.driver import Channel, Guarding, Head, Outcome, Shape, Site
from xooai.errors import Internal, ResourceExhausted, Unavailable, XooaiError
from xooai_grpc.catalogue import Catalogue
from xooai_grpc.channels import Context, StreamChannel, UnaryChannel
from xooai_grpc.descriptors import added
from xooai_grpc.limits import Limits
from xooai_grpc.metadata import (
    END,
    JSON,
    LEAVING,
    PROTOBUF,
    Pair,
    Received,
    codec_of_frame,
    error_size_for,
    head_of,
    no_protobuf,
    shape_of,
)
from xooai_grpc.opaque import FILE as OPAQUE
from xooai_grpc.opaque import Opaque
from xooai_grpc.secure import identity_of
from xooai_grpc.status import status_code
from xooai_grpc.typed import FRAMES
from xooai_grpc.typed_channel import TypedChannel

__all__ = ["Server"]

_LOG = logging.getLogger("xooai.grpc")
_PEERS = 1024  # connections whose client's name is remembered: as many as there are at once
_KNOWN = 256  # paths with metadata that are remembered: some dozens of endpoints, called by several clients
_PAGES = "/xooai/pages"  # what every key may see
_KNOWN_SIZE = 2048  # characters of metadata, with which a path is remembered: longer ones are rare


class Server(grpc.GenericRpcHandler):
    """Answers all calls but those to services of gRPC's own, which other handlers have."""

    def __init__(self, site: Site, limits: Limits, *, asks_clients: bool = False) -> None:
        """`asks_clients` says that clients show certificates."""
        self.site = site
        self.limits = limits
        self.asks_clients = asks_clients
        self.catalogue = Catalogue(site)
        self.is_leaving = False
        """Whether it is about to stop: then clients are told by each reply."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self.peers: dict[str, str] = {}
        """The names of clients as they were last told, by what gRPC calls them."""
        self._known: dict[tuple[str, tuple[Pair, ...]], grpc.RpcMethodHandler[bytes, bytes]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Called by gRPC with each call: how it is to be answered."""
        path, metadata = handler_call_details.method, handler_call_details.invocation_metadata
        handler = self._known.get((path, metadata))
        if handler is None and not path.startswith("/grpc."):
            calls = self._calls(path, metadata)
            handler = calls.handler()
            if (
                not calls.is_refused
                and len(path) + sum(len(one) + len(other) for one, other in metadata) <= _KNOWN_SIZE
            ):
                if len(self._known) >= _KNOWN:  # somebody makes them up; what is needed comes back with its next call
                    self._known.clear()
                self._known[path, metadata] = handler
        return handler

    def _calls(self, path: str, metadata: tuple[Pair, ...]) -> _Calls:
        """What answers the calls with a path and metadata."""
        if path.startswith("/xooai."):
            for method in OPAQUE.methods:
                if path == method.path:
                    return _Calls(self, path, metadata, Shape(method.shape), self._opened)
            typed = self.catalogue.method(path)
            if typed is not None:
                return _Calls(self, typed.path, metadata, typed.shape, self._as_declared)
        return _Calls(self, path, metadata)

    def services(self) -> tuple[list[str], DescriptorPool]:
        """The names of the services with a .proto file, and a pool with all that describes them."""
        names, pool = self.catalogue.services()
        added(OPAQUE, pool)
        return [f"{OPAQUE.package}.{OPAQUE.service}", *names], pool

    async def admit(self, context: Context) -> None:
        """End a call that is none to the site, by a caller whom it does not know."""
        if isinstance(self.site, Guarding):
            identity = identity_of(context) if self.asks_clients else ""
            try:
                metadata = Received(context.invocation_metadata() or ())
                self.site.admit(Head(_PAGES, metadata=metadata, identity=identity, peer=self.peer_of(context)))
            except XooaiError as error:
                await context.abort(status_code(error.code), error.message)

    @cached_property
    def opaque(self) -> Opaque:
        return Opaque()

    async def _opened(self, channel: UnaryChannel) -> Channel:
        return await self.opaque.opened(channel, self.site)

    async def _as_declared(self, channel: UnaryChannel) -> Channel:
        """A call to a method of a .proto file: in protobuf, unless it says otherwise."""
        channel.head.codec = channel.head.codec or PROTOBUF
        return await self.understood(channel)

    async def understood(self, channel: UnaryChannel) -> Channel:
        """A call as the site understands it. Raises Unimplemented for protobuf to an endpoint that has no messages."""
        head = channel.head
        if not head.codec:
            head.codec = codec_of_frame(await channel.look())
        if head.codec != PROTOBUF:
            return channel
        method = self.catalogue.method(head.path)
        if method is None:
            if self.site.shape(head.path) is not None:
                raise no_protobuf()
            head.codec = FRAMES  # the site says that there is no such endpoint
            return channel
        head.codec = FRAMES
        return TypedChannel(channel, method)

    def shape(self, path: str, given: Shape | None) -> Shape:
        """The shape of a call. A client that is not ours does not tell: the endpoint has it."""
        return given if given is not None else self.site.shape(path) or Shape.UNARY

    def peer_of(self, context: Context) -> str:
        """The client's address and port."""
        peer = context.peer()
        return self.peers.get(peer) or self.peer(peer)

    def peer(self, given: str) -> str:
        """The client's address and port, as `ipv4:127.0.0.1:1234` and `ipv6:%5B::1%5D:1234` name it; then it is in `peers`."""
        if len(self.peers) >= _PEERS:
            self.peers.clear()
        found = self.peers[given] = given.partition(":")[2].replace("%5B", "[").replace("%5D", "]")
        return found


async def _refuse(channel: UnaryChannel, error: XooaiError) -> None:
    await channel.end(None, Outcome(error.code, error.message, error.details))


class _Calls:
    """Calls with the same path and metadata, which are read once: a client sends the same ones again and again."""

    __slots__ = ("_end", "_error_size", "_head", "_is_plain", "_is_unread", "_refusal", "_server", "_show")

    def __init__(
        self,
        server: Server,
        path: str,
        metadata: tuple[Pair, ...],
        shape: Shape | None = None,
        show: Callable[[UnaryChannel], Awaitable[Channel]] | None = None,
    ) -> None:
        """`show` makes of the call what the site understands; the shape is known for a method of a .proto file."""
        self._server = server
        self._show = show
        self._refusal: XooaiError | None = None
        found = dict(metadata)
        self._error_size = error_size_for(found)
        self._end = found.get(END)
        try:
            known = shape if shape is not None else server.shape(path, shape_of(found))
            self._head = head_of(path, metadata, found, known)
        except XooaiError as error:
            self._head, self._refusal = Head(path), error
        self._is_unread = self._refuses_caller(path) if self._refusal is None and not server.asks_clients else False
        """Whether its caller is refused by the metadata alone: then no message is waited for."""
        self._is_plain = show is None and self._refusal is None and self._head.codec != PROTOBUF
        """Whether the site understands a call as it comes, once its codec is known."""

    @property
    def is_refused(self) -> bool:
        return self._is_unread or self._refusal is not None

    def _refuses_caller(self, path: str) -> bool:
        """Ask a site that answers known callers only; a message of the opaque service has metadata of its own."""
        if not isinstance(self._server.site, Guarding) or any(path == method.path for method in OPAQUE.methods):
            return False
        return not self._server.site.knows(self._head)

    def handler(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        shape = self._head.shape
        if self._is_unread:  # a handler of a stream is called before the first message has come
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        if shape is Shape.UNARY:  # a handler of its own: a stream's costs an eighth more
            return grpc.unary_unary_rpc_method_handler(self._answer)
        if shape is Shape.SERVER:
            return grpc.unary_stream_rpc_method_handler(self._answer)
        if shape is Shape.CLIENT:
            return grpc.stream_unary_rpc_method_handler(self._answer)
        return grpc.stream_stream_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Context) -> bytes:
        """Let the site answer, and write how the call ended, but for its last frame, which is returned.

        Cancelled by gRPC when the client leaves. All in one: whatever waits goes through every coroutine on the way.
        """
        channel, tasks = self._channel(request, context), self._server.tasks
        shown: Channel = channel
        if not (self._is_plain and channel.head.codec) or len(tasks) >= self._server.limits.calls:
            try:
                shown = await self._shown(channel)
            except XooaiError as error:
                await _refuse(channel, error)
                return await _finished(channel, context)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)  # once the reply has been written
        try:
            await self._server.site.accept(shown)
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            _LOG.exception("a call cancelled itself")  # to leave it at that would leave the client waiting
        except Exception:  # noqa: BLE001 - whatever its text is, the client does not learn it
            _LOG.exception("a call was left by an error")
        if not channel.is_answered:
            return await _finished(channel, context)
        if self._server.is_leaving:
            context.set_trailing_metadata(((LEAVING, "1"),))
        return channel.reply

    async def _refuse(self, _: object, context: Context) -> None:
        """End a call with what its caller is refused with."""
        site, head = self._server.site, self._head.__copy__()  # type: ignore[attr-defined]
        assert isinstance(site, Guarding)
        head.peer = self._server.peer_of(context)
        error: XooaiError = Unavailable("the keys of this server have just changed; call again")
        try:
            site.admit(head)
        except XooaiError as refusal:
            error = refusal
        channel = UnaryChannel(head, b"", self._error_size)
        await _refuse(channel, error)
        await channel.finish(context)

    def _channel(self, request: bytes, context: Context) -> UnaryChannel:
        """The channel of one of the calls; where the request streams, gRPC gives it in another way."""
        head: Head = self._head.__copy__()  # type: ignore[attr-defined]  # by way of copy.copy it takes thrice as long
        head.timeout = context.time_remaining()
        peer = context.peer()
        head.peer = self._server.peers.get(peer) or self._server.peer(peer)
        if self._server.asks_clients:
            head.identity = identity_of(context)
        if head.shape is Shape.UNARY:
            if self._is_plain and not head.codec and request[:1] == b"{":  # what most clients send that do not tell
                head.codec = JSON
            return UnaryChannel(head, request, self._error_size)
        if head.shape is Shape.SERVER:
            return StreamChannel(head, request, self._error_size, context)
        end = self._end.encode() if isinstance(self._end, str) else None
        return StreamChannel(head, None, self._error_size, context, end)

    async def _shown(self, channel: UnaryChannel) -> Channel:
        """A call as the site understands it. Raises what it is refused with."""
        shown: Channel = channel
        if self._refusal is not None:
            raise self._refusal
        if self._show is not None:
            shown = await self._show(channel)
        elif not channel.head.codec or channel.head.codec == PROTOBUF:
            shown = await self._server.understood(channel)
        limit = self._server.limits.calls
        if len(self._server.tasks) >= limit:
            raise ResourceExhausted(f"{limit} calls are running; try again", retry_after=1)
        return shown


async def _finished(channel: UnaryChannel, context: Context) -> bytes:
    """Write how a call ended that has no plain answer. Raises what grpcio wants to see."""
    if channel.is_open:
        _LOG.error("a call to %s was left without an answer", ascii(channel.head.path))
        await _refuse(channel, Internal("the server ended the call without an answer"))
    await channel.finish(context)
    return channel.reply
