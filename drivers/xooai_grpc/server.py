"""What the calls of one listener share: the site, the limits, the calls under way; and each call as gRPC brings it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc

from xooai.driver import Head, Outcome, Shape, Site
from xooai.errors import Internal, ResourceExhausted, XooaiError
from xooai_grpc.channels import Context, StreamChannel, UnaryChannel
from xooai_grpc.limits import Limits
from xooai_grpc.metadata import END, Pair, codec_of_frame, error_size_for, head_of, shape_of

__all__ = ["Server"]

_LOG = logging.getLogger("xooai.grpc")
_PEERS = 1024  # connections whose client's name is remembered: as many as there are at once


class Server(grpc.GenericRpcHandler):
    """Answers all calls but those to services of gRPC's own, which other handlers have."""

    def __init__(self, site: Site, limits: Limits) -> None:
        self.site = site
        self.limits = limits
        self.tasks: set[asyncio.Task[Any]] = set()
        self._peers: dict[str, str] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Called by gRPC with each call: how it is to be answered."""
        path = handler_call_details.method
        if path.startswith("/grpc."):
            return None
        return _Incoming(self, path, handler_call_details.invocation_metadata).handler()

    def shape(self, path: str, given: Shape | None) -> Shape:
        """The shape of a call. A client that is not ours does not tell: the endpoint has it."""
        return given if given is not None else self.site.shape(path) or Shape.UNARY

    def peer(self, given: str) -> str:
        """The client's address and port, as `ipv4:127.0.0.1:1234` and `ipv6:%5B::1%5D:1234` name it."""
        known = self._peers.get(given)
        if known is None:
            if len(self._peers) >= _PEERS:
                self._peers.clear()
            known = self._peers[given] = given.partition(":")[2].replace("%5B", "[").replace("%5D", "]")
        return known

    async def answer(self, channel: UnaryChannel, context: Context) -> None:
        """Let the site answer, and write how the call ended. Cancelled by gRPC when the client leaves."""
        task = asyncio.current_task()
        assert task is not None
        if len(self.tasks) >= self.limits.calls:
            await _refuse(
                channel, ResourceExhausted(f"{self.limits.calls} calls are running; try again", retry_after=1)
            )
        else:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)  # once the reply has been written
            try:
                await self.site.accept(channel)
            except asyncio.CancelledError:
                if task.cancelling():
                    raise
                _LOG.exception("a call cancelled itself")  # to leave it at that would leave the client waiting
            except Exception:  # noqa: BLE001 - whatever its text is, the client does not learn it
                _LOG.exception("a call was left by an error")
        if channel.is_open:
            _LOG.error("a call to %s was left without an answer", ascii(channel.head.path))
            await _refuse(channel, Internal("the server ended the call without an answer"))
        await channel.finish(context)


async def _refuse(channel: UnaryChannel, error: XooaiError) -> None:
    await channel.end(None, Outcome(error.code, error.message, error.details))


class _Incoming:
    """One call, from its path and metadata to its channel."""

    __slots__ = ("_end", "_error_size", "_head", "_refusal", "_server")

    def __init__(self, server: Server, path: str, metadata: tuple[Pair, ...]) -> None:
        self._server = server
        self._refusal: XooaiError | None = None
        found = dict(metadata)
        self._error_size = error_size_for(found)
        self._end = found.get(END)
        try:
            self._head = head_of(path, metadata, found, server.shape(path, shape_of(found)))
        except XooaiError as error:
            self._head, self._refusal = Head(path), error

    def handler(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        shape = self._head.shape
        if shape is Shape.UNARY:  # a handler of its own: a stream's costs an eighth more
            return grpc.unary_unary_rpc_method_handler(self._answer_one)
        if shape is Shape.SERVER:
            return grpc.unary_stream_rpc_method_handler(self._answer_request)
        if shape is Shape.CLIENT:
            return grpc.stream_unary_rpc_method_handler(self._answer_stream)
        return grpc.stream_stream_rpc_method_handler(self._answer_stream)

    async def _answer_one(self, request: bytes, context: Context) -> bytes:
        return await self._answer(UnaryChannel(self._head, request, self._error_size), context)

    async def _answer_request(self, request: bytes, context: Context) -> bytes:
        return await self._answer(StreamChannel(self._head, request, self._error_size, context), context)

    async def _answer_stream(self, requests: object, context: Context) -> bytes:
        end = self._end.encode() if isinstance(self._end, str) else None
        return await self._answer(StreamChannel(self._head, None, self._error_size, context, end), context)

    async def _answer(self, channel: UnaryChannel, context: Context) -> bytes:
        head = self._head
        head.timeout = context.time_remaining()
        head.peer = self._server.peer(context.peer())
        try:
            if self._refusal is not None:
                raise self._refusal
            if not head.codec:
                head.codec = codec_of_frame(await channel.look())
        except XooaiError as error:
            await _refuse(channel, error)
            await channel.finish(context)
        await self._server.answer(channel, context)
        return channel.reply
