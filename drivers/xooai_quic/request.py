"""A request on its stream, answered by the ASGI application: what HTTP/3 hears and says in terms of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from xooai.asgi import CutOff
from xooai.driver import Shape
from xooai.errors import DeadlineExceeded, Internal, InvalidArgument, ResourceExhausted, XooaiError, too_large
from xooai.guard import check_request
from xooai.http import refusal, request_head
from xooai.log import logger
from xooai_quic.connection import CANCELLED, FAILED, MALFORMED, NO_ERROR, REJECTED
from xooai_quic.head import Last, Refused, RequestHead, read_head, scope, time_allowed
from xooai_quic.plain import PlainCall
from xooai_quic.stream import PIECE, Headers, Stream, keep, wake

if TYPE_CHECKING:
    from xooai_quic.server import Server, ServerConnection

__all__ = ["Request"]

_LOG = logger("xooai.quic")


class Request(Stream):
    """One request and its response."""

    def __init__(self, server: Server, connection: ServerConnection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._connection = connection
        self._client = connection.client
        self._head: RequestHead | None = None
        self._response: Headers | None = None  # its head, until the first part of its body
        self._has_begun = self._has_ended = False
        self._is_heard = False  # whether the application has the whole body
        self._plain: PlainCall | None = None
        self._failure: XooaiError | None = None
        self._reserved = 0
        self._is_stream = False
        self.is_sized = True
        """Whether the response is one message, of which the client knows the size; it is not where items follow each other."""
        self._status = self._sent = 0
        self._since, self._mark = connection.loop.time(), 0
        self._deadline: float | None = None  # of the call, in the loop's time, once somebody had to ask

    # What the connection tells.

    def on_head(self, headers: Headers, ended: bool) -> None:
        if self._head is not None:  # trailers, which mean nothing here
            self.on_data(b"", ended)
            return
        self.is_whole = ended
        if self._server.is_draining:
            self._leave(REJECTED)
            return
        last = self._connection.last  # what most clients send: one call after another to one endpoint
        if last is not None and last.fields == headers and not (ended and last.head.length):
            self._head = last.head
            self._begin_call(PlainCall(self, last.call), ended)
            return
        try:
            self._head = read_head(headers, self._server.limits, self._server.hosts)
        except Refused as refused:
            self._refuse(refused.error, refused.status)
            return
        if ended and self._head.length:
            self._refuse(self._not_as_long(self._head.length), None)
            return
        path = self._server.path_of(self._head)
        if path is not None:
            self._begin_plain(path, self._head, headers, ended)
        else:
            self._is_stream = bool(self._server.shape_of(self._head.path) & Shape.CLIENT)
            self.task = self._server.begin(self._run(self._head))

    def _begin_plain(self, path: str, head: RequestHead, fields: Headers, ended: bool) -> None:
        table = dict(head.headers)
        try:
            check_request(table, self._server.message_limit)
            call = request_head(path, head.headers, table, "{}:{}".format(*self._client))
            if self._server.admit is not None and not ended:
                self._server.admit(call)
        except XooaiError as error:
            self._refuse(error, None)
            return
        self._connection.last = Last(fields, head, call)
        self._begin_call(PlainCall(self, call), ended)

    def _begin_call(self, call: PlainCall, ended: bool) -> None:
        self._plain = call
        if ended:
            call.is_whole()
            self.task = self._server.begin(self._run_plain(call))

    def on_data(self, data: bytes, ended: bool) -> None:
        if self._plain is not None:
            self._take_in(self._plain, data, ended)
            return
        super().on_data(data, ended)
        if self._failure is not None:
            self.clear()
            return
        try:
            if data and not self._is_stream:
                self._reserved += len(data)
                self._server.reserve(len(data))
            if ended:
                self._check_length()
        except XooaiError as error:
            self._fail(error)

    def _take_in(self, call: PlainCall, data: bytes, ended: bool) -> None:
        """Take a part of the body of a plain call; with the last, the call begins."""
        self.is_whole = ended
        try:
            if data:
                keep(call.parts, data)
                self.received += len(data)
                self.connection.consumed(self, len(data))
                self._reserved += len(data)
                self._server.reserve(len(data))
                if self.received > self._server.message_limit:
                    raise too_large(None, self._server.message_limit, "the request")
            if ended:
                self._check_length()
        except XooaiError as error:
            self._refuse(error, None)
            return
        if ended and self.task is None:
            call.is_whole()
            self.task = self._server.begin(self._run_plain(call))

    def _check_length(self) -> None:
        length = None if self._head is None else self._head.length
        if length is not None and self.received != length:
            raise self._not_as_long(length)

    def _not_as_long(self, length: int) -> InvalidArgument:
        return InvalidArgument(f"Content-Length is {length:,}, the body has {self.received:,} bytes")

    def on_left(self, code: int, is_reset: bool) -> None:
        if is_reset and self._has_ended:
            return  # what came early was asked to stop
        self._leave(CANCELLED)

    def on_malformed(self, reason: str) -> None:
        self._leave(MALFORMED)

    def on_lost(self, reason: str) -> None:
        self._leave(None)

    def on_flood(self) -> None:
        kept = self.connection.limits.flood
        self._fail(ResourceExhausted(f"more than {kept:,} bytes of the request came faster than they were read"))

    def _leave(self, code: int | None) -> None:
        """End without a response, or without the rest of one."""
        if self.is_over:
            return
        self.finish()
        self._release()
        self.connection.drop(self, reset=code, stop=None if self.is_whole else code)
        if self.task is not None and self.task is not asyncio.current_task():
            self._server.cancel(self.task)

    # How a plain call is answered.

    async def _run_plain(self, call: PlainCall) -> None:
        try:
            await self._server.accept(call)
        except asyncio.CancelledError:
            pass  # the client has left, or the listener ends
        except Exception as error:  # noqa: BLE001 - the site's, whatever it is
            self._failed(error)
        finally:
            self._leave(FAILED)  # nothing happens where it has ended well

    async def answer(self, headers: Headers, body: bytes) -> None:
        """Send the response of a plain call."""
        if self.is_over:
            return
        self._status, self._sent = int(headers[0][1]), len(body)
        if len(body) <= PIECE and not self.is_unwanted and self.connection.has_room(self):
            self.write_whole(headers, body)
        else:
            self._begin(headers, not body)
            if body:
                await self.write(body, True)
        if not self.is_over:
            self._end()

    def drop(self) -> None:
        """Give up without a response."""
        self._leave(FAILED)

    def _failed(self, error: Exception) -> None:
        _LOG.error("the site failed to answer %s", self._name(), exc_info=error)
        if not (self._has_begun or self.is_over):
            self._refuse(Internal("this server failed to answer"), None)

    # How the application is run.

    async def _run(self, head: RequestHead) -> None:
        try:
            await self._server.application(scope(head, self._client), self._receive, self._send)
        except asyncio.CancelledError:
            if not self.is_over:  # the listener ends
                self._leave(FAILED)
        except CutOff:
            self._leave(FAILED)
        except Exception as error:  # noqa: BLE001 - the application's, whatever it is
            self._failed(error)
        finally:
            self._leave(FAILED)  # nothing happens where it has ended well

    async def _receive(self) -> dict[str, Any]:
        while not self._is_heard:
            await self.more()
            if self._failure is not None:
                raise self._failure
            if self.is_over:
                break
            body = self.take()
            self._is_heard = self.is_whole and not self._size
            if body or self._is_heard:
                return {"type": "http.request", "body": body, "more_body": not self._is_heard}
        while not self.is_over:
            self._came = self.connection.loop.create_future()
            await self._came
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self.is_over:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self.is_sized = any(name == b"content-length" for name, _ in message["headers"])
            self._response = [(b":status", b"%d" % self._status), *message["headers"]]
            return
        body, ended = message.get("body", b""), not message.get("more_body", False)
        if self._response is not None:
            self._begin(self._response, ended and not body)
            if ended and not body:
                self._end()
                return
        self._sent += len(body)
        if body or ended:
            await self.write(body, ended)
        if ended and not self.is_over:
            self._end()

    def _begin(self, response: Headers, ended: bool) -> None:
        self._response = None
        self.write_head(response, ended)
        self._has_begun = True

    def _end(self) -> None:
        """The response is whole; what still comes of the request is for nobody."""
        self._has_ended = True
        if self._server.has_log:
            self._server.log(self._client, self._name(), self._status, self._sent)
        self.finish()
        self._release()
        self.connection.drop(self, stop=None if self.is_whole else NO_ERROR)

    # Errors

    def _refuse(self, error: XooaiError, status: int | None) -> None:
        self._status, headers, body = refusal(error, status)
        raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
        raw = [(b":status", b"%d" % self._status), *raw, (b"content-length", b"%d" % len(body))]
        self._begin(raw, False)
        self._write(body, True)
        self._sent = len(body)
        self._end()

    def _fail(self, error: XooaiError) -> None:
        """End by this error: the application tells it, if it still waits for the request; else it is told here."""
        self._failure = self._failure or error
        self.clear()
        if not self._is_stream:
            wake(self._came)
        elif self._has_begun:
            self._leave(CANCELLED)
        else:
            self._refuse(error, None)
            if self.task is not None:
                self.task.cancel()

    def _release(self) -> None:
        reserved, self._reserved = self._reserved, 0
        self._server.reserve(-reserved)

    def _name(self) -> str:
        head = self._head
        return "-" if head is None else f"{head.method} {head.path.decode('latin-1')}"

    def check(self, now: float) -> None:
        """Keep the deadlines: of a head, of a body that comes, of a response that is taken."""
        limits = self._server.limits
        waited = now - self._since
        if self._head is None:
            if waited > limits.head_time:
                self._leave(CANCELLED)
        elif now > self._due(self._head):
            self._expire()
        elif self.is_writing:
            moved = self.written - self.connection.quic.unsent(self.id)
            if moved != self._mark:
                self._since, self._mark = now, moved
            elif waited > limits.stall:
                self._leave(CANCELLED)
        elif not (self.is_whole or self._is_stream) and waited > limits.window_time:
            if self.received - self._mark < limits.rate * waited:
                self._too_late(DeadlineExceeded(f"the body came slower than {limits.rate:,} bytes a second"))
            self._since, self._mark = now, self.received

    def give_up(self) -> None:
        """End without the rest of the response: nobody takes it."""
        self._leave(CANCELLED)

    def _due(self, head: RequestHead) -> float:
        if self._deadline is None:  # in the first sweep that finds the call: most have ended before
            self._deadline = self._since + time_allowed(head)
        return self._deadline

    def _expire(self) -> None:
        """The call's time has passed: its client, if it is still there, waits no more. What a handler does is the site's."""
        if self.is_writing:
            self._leave(CANCELLED)
        elif not (self.is_whole or self._is_stream):
            self._too_late(DeadlineExceeded("the body did not come in the time allowed for the call"))

    def _too_late(self, late: DeadlineExceeded) -> None:
        """Wait no longer for a body."""
        self._fail(late) if self._plain is None else self._refuse(late, None)

    @property
    def is_writing(self) -> bool:
        """Whether the response waits for room."""
        return self._room is not None and not self._room.done()
