"""A unary call on an HTTP connection, as a Channel: one frame came with the request, one goes with the response."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from xooai.driver import Head, Outcome
from xooai.errors import Internal

__all__ = ["Connection", "UnaryChannel"]

_OK = Outcome()


class Connection(Protocol):
    """What a channel needs of the connection that it is on."""

    def answer(self, call: UnaryChannel, frame: bytes | None, outcome: Outcome) -> None:
        """Write the response of the running call."""

    def drop(self) -> None:
        """Close now, discarding what is not written."""


class UnaryChannel:
    """The server's end of one call. The connection cancels `task` when its client leaves."""

    __slots__ = ("_body", "_connection", "head", "keep_alive", "task")

    kind: Literal["call"] = "call"

    def __init__(self, connection: Connection, head: Head, body: bytes, keep_alive: bool) -> None:
        self.head = head
        self.keep_alive = keep_alive
        self.task: asyncio.Task[None] | None = None
        self._body: bytes | None = body
        self._connection: Connection | None = connection

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def outcome(self) -> Outcome | None:
        """None: this is the server's end."""
        return None

    @property
    def held(self) -> int:
        """See `xooai.driver.Holding`."""
        return 0 if self._body is None else len(self._body)

    async def receive(self) -> bytes | None:
        """Return the request's body, then None. Never waits."""
        body, self._body = self._body, None
        return body

    async def send(self, frame: bytes) -> None:
        raise Internal("a unary call has one reply: end it with the frame")

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        """Write the response; never waits, and does nothing when the client has left."""
        connection = self._connection
        if connection is None:
            raise Internal("this call has ended")
        connection.answer(self, frame, outcome)  # first: where it raises, the call is still open for another outcome
        self._connection = None

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.drop()
