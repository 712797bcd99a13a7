"""The server's ends of calls, as Channels: one reply for one request, and streams."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import grpc

from xooai.driver import Head, Outcome, Shape
from xooai.errors import Code, Internal, Unavailable
from xooai_grpc.metadata import Pair, message_of, trailers
from xooai_grpc.status import status_code

__all__ = ["Context", "StreamChannel", "UnaryChannel"]

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_OK = Outcome()
_SUCCESS = int(Code.OK)  # an IntEnum's own comparison is slower
_CANCELLATION = 1.0  # seconds for this task to be cancelled, once the client is known to have left
_GIVEN_UP = Outcome(Code.UNAVAILABLE, "the server gave the call up")


class UnaryChannel:
    """One request, one reply: it is written when the site is done with the call."""

    __slots__ = ("_ending", "_error_size", "_request", "_trailers", "head", "is_answered", "reply")

    def __init__(self, head: Head, request: bytes | None, error_size: int) -> None:
        self.head = head
        self.reply = b""
        self.is_answered = False
        """Whether the reply says all, and nothing is left for `finish`."""
        self._request = request
        self._error_size = error_size
        self._ending: Outcome | None = None
        self._trailers: tuple[Pair, ...] = ()

    @property
    def outcome(self) -> Outcome | None:
        """None: this is the server's end."""
        return None

    @property
    def is_open(self) -> bool:
        return self._ending is None

    async def look(self) -> bytes | None:
        """Return the first frame, which `receive()` will return once more."""
        return self._request

    @property
    def held(self) -> int:
        """See `xooai.driver.Holding`."""
        return 0 if self._request is None else len(self._request)

    async def receive(self) -> bytes | None:
        """Return the request, then None. Never waits."""
        request, self._request = self._request, None
        return request

    async def send(self, frame: bytes) -> None:
        raise Internal("this call has one reply: end it with the frame")

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        if self._ending is not None:
            raise Internal("this call has ended")
        head = self.head
        if outcome.code == _SUCCESS and outcome.codec == (head.accept or head.codec) and not outcome.metadata:
            self.is_answered = True
        else:
            self._trailers = trailers(outcome, head, self._error_size)  # where it raises, the call is still open
        self._ending = outcome
        if frame is not None:
            self.reply = frame

    def abort(self) -> None:
        if self._ending is None:
            self._ending = _GIVEN_UP
            self._trailers = trailers(_GIVEN_UP, self.head)

    async def finish(self, context: Context) -> None:
        """Write how the call ended, but for its reply. Raises what `context.abort` raises, which grpcio wants to see."""
        outcome = self._ending
        assert outcome is not None
        if outcome.code != _SUCCESS:
            await context.abort(status_code(outcome.code), message_of(outcome), self._trailers)
        if self._trailers:
            context.set_trailing_metadata(self._trailers)


class StreamChannel(UnaryChannel):
    """A stream on one side or on both."""

    __slots__ = ("_aborting", "_context", "_end", "_has_all", "_streams_reply", "_streams_request")

    def __init__(
        self, head: Head, request: bytes | None, error_size: int, context: Context, end: bytes | None = None
    ) -> None:
        """`end` is the message by which the client says that it has sent all; None where it does not say it."""
        super().__init__(head, request, error_size)
        self._context = context
        self._end = end
        self._streams_request = bool(head.shape & Shape.CLIENT)
        self._streams_reply = bool(head.shape & Shape.SERVER)
        self._has_all = False
        self._aborting: asyncio.Task[None] | None = None

    async def look(self) -> bytes | None:
        self._request = await self.receive()
        return self._request

    async def receive(self) -> bytes | None:
        """Return the client's next frame; None when it ended well."""
        if self._request is not None or not self._streams_request or self._has_all:
            request, self._request = self._request, None
            return request
        frame: object = await self._context.read()
        if isinstance(frame, bytes):
            if frame != self._end:
                return frame
        elif self._end is not None:
            raise Unavailable("the stream of the request was cut off before its end")
        else:
            # grpcio says the same when the client was cut off, and mostly cancels this task a moment later. What is
            # asked of the core now is answered behind that.
            await self._context.read()
        self._has_all = True
        return None

    async def send(self, frame: bytes) -> None:
        """Send a frame; wait while the client's window is full."""
        if self._ending is not None:
            raise Internal("this call has ended")
        if not self._streams_reply:
            await super().send(frame)
        try:
            await self._context.write(frame)
        except grpc.aio.BaseError as error:
            raise await self._left() from error

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        await super().end(frame, outcome)
        if frame is not None and self._streams_reply:
            try:
                await self._context.write(frame)
            except grpc.aio.BaseError as error:
                raise await self._left() from error

    async def _left(self) -> Unavailable:
        """The error of who writes to a client that has left, unless gRPC cancels this task for it first."""
        await asyncio.sleep(_CANCELLATION)
        return Unavailable("the client has left")

    def abort(self) -> None:
        if self._ending is None:
            super().abort()
            self._aborting = asyncio.get_running_loop().create_task(self._give_up())

    async def _give_up(self) -> None:
        try:
            await super().finish(self._context)
        except grpc.aio.BaseError:
            pass  # the client was first

    async def finish(self, context: Context) -> None:
        if self._aborting is None:
            await super().finish(context)
        else:
            await self._aborting
            await context.read()  # raises what the abort raised, as everything does from then on
