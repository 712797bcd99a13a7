"""The server's side of one HTTP/1.1 connection: a plain call goes straight to the site, the rest through ASGI.

It stands on uvicorn 0.54. What `reading`, `fallback` and this module know of its inside: `HttpToolsProtocol` makes the
httptools parser, which calls `on_url`, `on_header` and so on; it keeps `transport`, `flow`, `url`, `headers`, `client`,
`server`, `scheme`, and `cycle` (marked disconnected in connection_lost), and itself in `server_state.connections`;
`RequestResponseCycle` runs an application, writes its response, calls `on_response` after the last byte, and logs a
cancellation as the application's failure; its `receive` goes on reading. Its own way of reading (pipelining, keep-alive
timers) is replaced: a request is taken whole before it begins, and reading never stops, or a client's leaving would go
unseen. Only while the body of a call that streams waits to be taken does it stop; then the sweep looks for leaving.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from xooai.driver import Head, Outcome
from xooai.errors import DeadlineExceeded, Unavailable, XooaiError
from xooai.http import status_of
from xooai.lazy import lazy
from xooai.log import logger
from xooai_http import here
from xooai_http.pace import Pace
from xooai_http.reading import BODY, DEAF, HEAD, IDLE, LINGER, SWITCHED, Excess, Pending, Refusal, RequestReader
from xooai_http.reply import refuse, response
from xooai_http.server import Server
from xooai_http.unary import UnaryChannel

if TYPE_CHECKING:
    from xooai import identity
    from xooai_http import fallback, leaving, websocket
    from xooai_http.fallback import Cycle
    from xooai_http.websocket import WebSocket
else:
    fallback = lazy("xooai_http.fallback")
    identity = lazy("xooai.identity")
    leaving = lazy("xooai_http.leaving")
    websocket = lazy("xooai_http.websocket")

__all__ = ["HttpConnection"]

_LOG = logger("xooai.http")
_WRITING = (object(),)  # the state in which a client has to take what was written


class HttpConnection(RequestReader):
    """One connection. Calls run one at a time, in the order of their requests."""

    def __init__(self, server: Server, client: tuple[str, int]) -> None:
        super().__init__(server, client)
        self._client = client
        self._queue: deque[Pending] = deque()
        self._pace = Pace()

    # -- the transport's events, beside data_received

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        if self._server.asks_clients:
            self.identity = identity.identity_of(transport.get_extra_info("peercert"))
        self._server.joined()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        call, self._call = self._call, None
        self._incoming = None
        self._queue.clear()
        self._mode = DEAF
        self._count_off()
        if call is not None and call.task is not None:
            self._server.cancel(call.task)
        if self._socket is not None:
            self._socket.lost()
        self._server.on_left(self._client)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._proceed()

    # -- calls, one at a time

    def _taken(self, head: Head | None, body: bytes) -> None:
        call: UnaryChannel | Cycle
        if head is not None:
            call = UnaryChannel(self, head, body, self._keep_alive)
        else:
            call = fallback.Cycle(self, self._method.decode("ascii"), body, self._keep_alive, self.on_response_complete)
            leaving.watch(self.transport)  # it may give a stream
        if self._call is None:
            self._start(call)
        elif len(self._queue) < self._server.limits.pipeline:
            self._queue.append(call)
        else:
            raise Excess

    def _begun(self) -> Cycle:
        if self._call is not None:  # what streams is not sent ahead: there would be two bodies to hold
            raise Excess
        cycle = fallback.Cycle(self, self._method.decode("ascii"), None, self._keep_alive, self._on_streamed)
        self._call = cycle
        leaving.watch(self.transport)
        self.loop.call_soon(self._proceed, context=self._server.context)  # not before the parser is done with the head
        return cycle

    def _on_streamed(self) -> None:
        """The response of a request that streamed, or still does, is written."""
        if not self.transport.is_closing():
            self.flow.resume_reading()
        self.on_response_complete()

    def _switched(self) -> WebSocket:
        if self._call is not None:  # requests were sent ahead of it
            raise Excess
        socket = websocket.WebSocket(self, self._server, self._on_broken)
        self._call = socket
        leaving.watch(self.transport)
        self.loop.call_soon(self._proceed, context=self._server.context)  # not before the parser is done with the head
        return socket

    def _on_broken(self, last_words: bytes) -> None:
        """What comes through the WebSocket is no more of interest."""
        call = self._call
        self._mode = DEAF
        self._linger(last_words)
        if call is not None and call.task is not None:
            self._server.cancel(call.task)

    def _refuse(self, error: XooaiError, status: int | None = None) -> None:
        if self._incoming is not None and not self._give_up(self._incoming):
            return
        status, data = refuse(error, status)
        self._mode = DEAF
        self._body, self._pieces = b"", None
        if self._server.has_log:
            request = f"{self.parser.get_method().decode()} {self.url.decode('latin-1')}" if self.url else "-"
            self._server.log(self._peer, request, status, len(data))
        if self._call is not None:
            self._queue.append(Refusal(data))
        else:
            self._start(Refusal(data))

    def _give_up(self, cycle: Cycle) -> bool:
        """End a call in the middle of its request; whether it can still be answered otherwise."""
        self._call = self._incoming = None
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.task is not None:
            self._server.cancel(cycle.task)
        if cycle.response_started:
            self.drop()
        return not cycle.response_started

    def _hear_no_more(self) -> None:
        if self._incoming is not None:  # the call goes on, and its stream with it
            self._keep_alive = self._incoming.keep_alive = False
            return
        if self._mode == SWITCHED:
            return
        self._mode = DEAF
        last = self._queue[-1] if self._queue else self._call
        if last is not None:
            last.keep_alive = False

    def _start(self, call: Pending) -> None:
        self._call = call
        if not self.flow.write_paused:  # else resume_writing begins it: one unread reply in memory is enough
            self._begin(call)

    def _begin(self, call: Pending) -> None:
        if isinstance(call, UnaryChannel):
            task = self.loop.create_task(self._run(call))
        elif call.kind == "cycle":
            self.cycle = call
            task = self.loop.create_task(self._run_cycle(call))
        elif call.kind == "socket":
            task = self.loop.create_task(self._run_socket(call))
        else:
            self._linger(call.data)
            return
        if not task.done():  # a loop may start tasks eagerly
            call.task = task
            self._server.tasks.add(task)

    async def _run(self, call: UnaryChannel) -> None:
        try:
            await self._server.accept(call)
        except Exception:  # noqa: BLE001  # a site answers every failure itself: this one is its mistake
            _LOG.exception("the site failed to answer a call")
        finally:
            self._done(call.task, call.is_open)

    async def _run_cycle(self, cycle: Cycle) -> None:
        try:
            await cycle.run(self._server.application)
        finally:
            self._done(cycle.task, not cycle.response_complete and not cycle.disconnected)
            if cycle.is_cut and not self.transport.is_closing():
                self._cut()
            if self._server.has_log:
                self._server.log(self._peer, cycle.request, cycle.status, cycle.size)

    async def _run_socket(self, socket: WebSocket) -> None:
        try:
            await socket.run()
        finally:
            self._done(socket.task, False)

    def _done(self, task: asyncio.Task[None] | None, is_open: bool) -> None:
        if task is not None:
            self._server.tasks.discard(task)
        if is_open and not self.transport.is_closing():
            _LOG.error("a call was left without an answer; its connection is closed")
            self.drop()

    def _cut(self) -> None:
        """End a response that is left incomplete: its client has been told why, or sees it by the end."""
        is_whole, self._incoming = self._incoming is None, None
        self._mode = DEAF
        if is_whole or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self._linger(b"")

    def answer(self, call: UnaryChannel, frame: bytes | None, outcome: Outcome) -> None:
        """Write the response of the running call: head and body in one write unless it is large."""
        first, rest = response(frame, outcome, call.keep_alive)
        transport = self.transport
        if not transport.is_closing():
            transport.write(first)
            if rest:
                transport.write(rest)
            if self._server.has_log:
                self._server.log(self._peer, "POST " + call.head.path, status_of(outcome), len(first) + len(rest))
            if not call.keep_alive:
                transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        self._call = None
        if self._queue or self._stage or self._mode or self._buffered:
            self._go_on()
        else:
            self._fed = self._ahead = 0

    def _go_on(self) -> None:
        self._count_off()
        if self._incoming is not None:  # answered early: what still comes is discarded
            self._incoming = None
            self._mode = DEAF
            self._linger(b"")
            return
        if self._queue:
            self._call = self._queue.popleft()
            # We are in the task of the call that ended: the next one must not inherit its context variables.
            self.loop.call_soon(self._proceed, context=self._server.context)
            return
        self._start_count()
        if self._mode == DEAF:
            self.transport.close()
        else:
            self._offer_to_continue()

    def _proceed(self) -> None:
        call = self._call
        if call is not None and call.task is None and not self.flow.write_paused:
            self._begin(call)

    # -- the ends of a connection

    def drop(self) -> None:
        """Close now, discarding what is not written."""
        self.transport.abort()

    def _linger(self, data: bytes) -> None:
        # Closed at once with bytes unread, the connection would be reset and the client might never see the answer.
        self._call = None
        self._stage = LINGER
        self._count_off()
        self.flow.resume_reading()
        self.transport.write(data)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def shutdown(self) -> None:
        """Close after the calls that were taken, or the one that is coming in."""
        self._repeated = None  # what it remembers may be kept alive
        if self._call is not None:
            self._hear_no_more()
        elif self._stage == BODY:
            self._keep_alive = False

    def close_idle(self) -> None:
        """Close it, if its client is one of ours in this very process and does not use it."""
        if self._call is None and self._stage == IDLE and here.claimed(self._client):
            self.transport.close()

    def stop(self) -> None:
        """Close now, telling the client of a running call why."""
        call = self._call
        has_begun = False
        if call is not None and call.kind == "socket":
            call.stop()
            return
        if call is not None and call.kind == "cycle":
            has_begun = call.response_started
            call.disconnected = True  # what it still says is for nobody
        if call is not None and not has_begun and not self.transport.is_closing():
            self.transport.write(refuse(Unavailable("the server stopped before the call was done"))[1])
            self.transport.close()
        else:
            self.transport.abort()

    def check(self, now: float) -> None:
        """Close when a deadline has passed."""
        pace, transport = self._pace, self.transport
        if self.flow.read_paused and leaving.has_left(transport):
            transport.abort()
        elif self.flow.write_paused or transport.is_closing():
            self._check_taking(now)
        elif self._call is not None:
            if self._call.kind == "socket":
                self._call.check(now)
        else:
            self._check_waiting(pace.age((self.headers, self._stage), now, self._fed), now)

    def _check_taking(self, now: float) -> None:
        limits, pace, call = self._server.limits, self._pace, self._call
        moved = -self.transport.get_write_buffer_size()
        window, rate = limits.window, limits.rate
        if call is not None and (
            (call.kind == "cycle" and call.chunked_encoding) or (call.kind == "socket" and not call.is_over)
        ):  # a stream, whose client may think
            moved += call.size
            window, rate = limits.stall, 1
        if pace.age(_WRITING, now, moved) > window:
            if pace.is_slow(now, moved, rate):
                self.transport.abort()
            pace.restart(now, moved)

    def _check_waiting(self, age: float, now: float) -> None:
        limits = self._server.limits
        if self._stage == LINGER:
            if age > limits.linger:
                self.transport.abort()
        elif self._stage == HEAD:
            if age > limits.head_time:
                self._refuse(DeadlineExceeded(f"the headers took longer than {limits.head_time:g} seconds"), 408)
        elif self._stage == BODY:
            if age > limits.window:
                if self._pace.is_slow(now, self._fed, limits.rate):
                    self._refuse(DeadlineExceeded(f"the body came slower than {limits.rate:,} bytes a second"), 408)
                self._pace.restart(now, self._fed)
        elif age > (limits.keep_alive if self.headers is not None or self._server.is_draining else limits.head_time):
            self.transport.close()
