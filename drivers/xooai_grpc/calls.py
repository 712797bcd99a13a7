"""The client's ends of calls: one reply for one request, and streams."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc

from xooai.driver import Head, Outcome, Shape
from xooai.errors import FailedPrecondition, Internal, Unavailable, XooaiError
from xooai_grpc.ahead import EARLY, Ahead
from xooai_grpc.going import Going
from xooai_grpc.metadata import LEAVING, outcome_of
from xooai_grpc.status import failure, was_refused

__all__ = ["Owner", "StreamCall", "UnaryCall"]

_OK = Outcome()
_REFUSALS = 10  # in a row: then it is not a moment that the two count differently, and whoever calls waits longer
_PAUSE = 0.01  # seconds before a call that was refused begins once more

UnaryUnary: TypeAlias = "grpc.aio.UnaryUnaryCall[bytes, bytes]"
Stream: TypeAlias = Any  # grpc.aio's UnaryStreamCall or StreamStreamCall: the first has no write()


class Owner(Protocol):
    """What a call needs of the link that it is on."""

    @property
    def peer(self) -> str: ...

    @property
    def is_closed(self) -> bool: ...

    is_leaving: bool
    """Whether the server has said that it is about to stop."""

    end_of_stream: str
    """The message by which a stream of requests ends."""

    def suspect(self) -> None:
        """The server was not there."""


class _Call:
    """What all shapes share: how a call is given up and how it fails."""

    outcome: Outcome | None = None
    _error: XooaiError | None = None
    _is_given_up = False
    _refusals = 0

    def __init__(self, link: Owner, head: Head, call: Any, begin: Callable[..., Any] | None = None) -> None:
        """`begin(timeout=)` makes the call once more, where all of its request is known."""
        self.head = head
        self._link = link
        self._call = call
        self._begin = begin

    def abort(self) -> None:
        if self.outcome is None:
            self._is_given_up = True
            call, self._call = self._call, None
            if call is not None:
                self._error = self._why_cancelled()
                call.cancel()
            self._stop_reading()

    async def _retry(self, error: grpc.aio.AioRpcError) -> None:
        """Begin once more where the server did not; raise what `error` means where it did."""
        if self._begin is None or self._refusals >= _REFUSALS or not was_refused(error):
            self._fail(error)
        self._refusals += 1
        await asyncio.sleep(_PAUSE)
        if self._is_given_up or self._link.is_closed:
            self._end_here()
        self._call = self._begin(timeout=self._call.time_remaining())

    def _fail(self, error: grpc.aio.AioRpcError) -> NoReturn:
        self.outcome, self._error = failure(error, self.head, self._link.peer)
        if isinstance(self._error, Unavailable) and not self._error.remote:
            self._link.suspect()
        self._let_go(error)
        raise self._error from error

    def _let_go(self, error: BaseException) -> None:
        """Hold gRPC's call no longer, and let what it raised not hold it: the connection stays open as long as anybody does,
        also when the link is closed, and an error holds the frames that it came through, this object among them.
        """
        error.__traceback__ = None
        self._call = self._begin = None
        self._stop_reading()

    def _stop_reading(self) -> None:
        """Wait for no further message."""

    def _end_here(self, error: asyncio.CancelledError | None = None) -> NoReturn:
        """Raise why the call was cancelled, which was not by cancelling its task."""
        self._error = self._error or self._why_cancelled()
        if error is not None:
            self._let_go(error)
        raise self._error from None

    def _why_cancelled(self) -> Unavailable:
        if self._is_given_up:
            return Unavailable(f"the call to {self.head.path} was given up")
        if self._link.is_closed:
            return Unavailable(f"the link to {self._link.peer} has been closed")
        return Unavailable(f"the call to {self.head.path} was cancelled")

    async def _answered(self) -> None:
        trailers = tuple(await self._call.trailing_metadata())
        self.outcome = outcome_of(self.head, trailers)
        self._link.is_leaving = bool(trailers) and any(name == LEAVING for name, _ in trailers)
        self._call = None  # see _let_go
        self._stop_reading()


def _is_cancelled() -> bool:
    """Whether it is the caller that is cancelled, not the call: grpc.aio raises the same for both."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class UnaryCall(_Call):
    """One request, which is on its way, and one reply, which `receive()` waits for."""

    _call: UnaryUnary

    async def receive(self) -> bytes | None:
        """Wait for the reply and return it, None the second time. Raises the error that the call ended with."""
        if self._error is not None:
            raise self._error
        if self.outcome is not None:
            return None
        while True:
            try:
                reply: bytes = await self._call
            except grpc.aio.AioRpcError as error:
                await self._retry(error)
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    self._error = self._why_cancelled()
                    self._let_go(error)
                    raise
                self._end_here(error)
            else:
                await self._answered()
                return reply

    async def send(self, frame: bytes) -> None:
        raise FailedPrecondition("the request of a unary call is sent when the call is opened; it has no second frame")

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        """Nothing is left to do, the call's side of ours ended as it was opened; a frame is refused as in `send`."""
        if frame is not None:
            await self.send(frame)


def _tell_late(call: weakref.ref[StreamCall]) -> None:
    """Held by the loop for as long as a call may take: one that its owner has dropped is to end before."""
    if (late := call()) is not None:
        late._on_late()


class StreamCall(_Call):
    """A call with a stream on one side or on both."""

    _call: Stream
    _is_connected = False
    _is_unheard = False  # the server takes no more frames
    _has_ended = False
    _reading: Going | None = None
    """Goes on where who waited for it was cancelled, and may wait again: grpc.aio would end the call."""
    _is_waiting = False  # somebody is in `receive`: there is nothing that gRPC could forget
    _is_late = False  # the call's time is nearly over
    _ahead: Ahead | None = None
    """What came since then, which nobody waited for."""

    def __init__(self, link: Owner, head: Head, call: Any, begin: Callable[..., Any] | None = None) -> None:
        super().__init__(link, head, call, begin)
        self._timer: asyncio.TimerHandle | None = None
        if head.timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(head.timeout - EARLY, _tell_late, weakref.ref(self))

    async def receive(self) -> bytes | None:
        """Wait for the next frame; None when the server ended well. Raises the error that it ended with."""
        if self.outcome is not None and self._error is None:
            return None
        frame = await self._read()
        if frame is None:
            await self._answered()
        elif not self.head.shape & Shape.SERVER:
            if await self._read() is not None:
                self.abort()
                raise Internal(f"{self._link.peer} answered {self.head.path} with a second frame")
            await self._answered()
        return frame

    async def _read(self) -> bytes | None:
        while True:
            ahead = self._ahead
            if self._error is not None and not (ahead is not None and ahead.has_messages):
                raise self._error
            self._is_waiting = True
            try:
                frame: bytes | object = await (self._going() if ahead is None else ahead).end()
            except grpc.aio.AioRpcError as error:
                self._reading = self._ahead = None
                await self._retry(error)
            except asyncio.CancelledError as error:
                if not _is_cancelled():
                    self._end_here(error)
                if self._is_late:
                    self._read_ahead()
                raise
            else:
                self._reading = self._begin = None
                if not isinstance(frame, bytes):  # grpc.aio's EOF
                    return None
                if self._is_late:
                    self._read_ahead()
                return frame
            finally:
                self._is_waiting = False

    def _going(self) -> Going:
        if self._reading is None:
            self._reading = Going(self._call.read())
        return self._reading

    def _on_late(self) -> None:
        self._is_late = True
        if not self._is_waiting:
            self._read_ahead()

    def _read_ahead(self) -> None:
        """Take what comes from now on, unless the call is over."""
        if self._ahead is None and self._call is not None and not self._link.is_closed:
            self._ahead = Ahead(self._call.read, self._reading)
            self._reading = None

    def abort(self) -> None:
        if self._ahead is not None and self.outcome is None:
            self._ahead.clear()
        super().abort()

    def cut_off(self) -> None:
        """The link is closed: who receives is told."""
        if self._timer is not None:
            self._timer.cancel()
        if self._call is not None:
            self._call.cancel()

    def _stop_reading(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._ahead is not None:
            self._ahead.stop()
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()

    async def send(self, frame: bytes) -> None:
        """Send a frame; wait while the server's window is full.

        Where the server has ended the call, this raises the error that it ended with, as soon as that is known;
        `receive()` does at the latest. What comes after its early answer is discarded.
        """
        if self._has_ended or not self.head.shape & Shape.CLIENT:
            raise FailedPrecondition("the request has ended; it has no further frame")
        if self._error is not None:
            raise self._error
        if self._call is None:  # it was answered
            await asyncio.sleep(0)
            return
        if self._is_unheard or self._call.done():
            await self._look()
            return
        try:
            await self._write(frame)
        except grpc.aio.AioRpcError as error:
            self._fail(error)
        except grpc.aio.InternalError:
            self._is_unheard = True
        except asyncio.CancelledError as error:
            if _is_cancelled():
                self.abort()
                raise
            self._end_here(error)
        if self._is_unheard:
            await self._look()

    async def _write(self, frame: bytes) -> None:
        call = self._call
        if not self._is_connected:
            await call.wait_for_connection()
            self._is_connected = True
        # Not write(): where the server has ended the call, that sets the status INTERNAL in place of the server's own.
        await call._cython_call.send_serialized_message(frame)

    async def _look(self) -> None:
        """Raise what the call has ended with, where that is known and no answer: it is not while frames wait to be read."""
        if self._is_given_up or self._link.is_closed:
            self._end_here()
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        if self._call.done() and await self._call.code() is not grpc.StatusCode.OK:
            try:
                await self._call.read()  # another one than that of who receives: each raises what the call ended with
            except grpc.aio.AioRpcError as error:
                self._fail(error)
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                self._end_here(error)

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        """End the request. Raises nothing for a call that has ended by itself: `receive()` does."""
        if not self.head.shape & Shape.CLIENT:
            if frame is not None:
                await self.send(frame)
            return
        if frame is not None:
            await self.send(frame)
        call = self._call
        if self._has_ended or call is None:
            return
        self._has_ended = True
        try:
            if not self._is_unheard and not call.done():
                await self._write(self._link.end_of_stream.encode())
            await call.done_writing()
        except (grpc.aio.AioRpcError, grpc.aio.InternalError):
            return
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            self._end_here(error)
