"""The connection between a process that takes calls from callers, and one that an executor is isolated in: all calls go over it.

A message is a byte that says what it is, four bytes with the number of its call, four with the length of what follows
(big-endian), and that. Both sides read all the time, and each call is bounded by its window. What is large goes in pieces, in
turn with those of other calls, so that a picture does not keep small calls waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from struct import Struct
from typing import Any, cast

import msgspec

from xooai.driver import Head, Outcome

__all__ = [
    "ASK",
    "BYE",
    "END",
    "FRAME",
    "GOING",
    "LEFT",
    "OPEN",
    "ROOM",
    "UNJUDGED",
    "Line",
    "head_of",
    "outcome_of",
    "packed",
    "room",
    "room_of",
]

PIECE = 64 * 1024  # bytes of a message; longer ones go in several: some 20 µs each
AHEAD = 128 * 1024  # bytes that wait for the kernel, before pieces wait for their turn
UNJUDGED = 2**32  # bytes of a frame, which cannot be longer: whoever took it from its sender has a limit

OPEN, FRAME, PART, END, ROOM, LEFT, GOING, BYE, ASK = range(9)
"""A head, a frame, a part of one with more to come, an end with the outcome, the window's, a call given up, a process that is
about to end, its peer that begins no more calls there, and a head whose call has one frame, which follows.
"""
_START = Struct(">BII")
_SIZE = _START.size
_pack = _START.pack
_unpack = _START.unpack_from
_encoder = msgspec.msgpack.Encoder(enc_hook=dict)  # for mappings that are no dict


def packed(value: Head | Outcome) -> bytes:
    """What a message holds."""
    return _encoder.encode(value)


class Line(asyncio.Protocol):
    """One end of a connection. Who it belongs to is told by `_take` what has come, and by `_lost` of its end."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.calls: dict[int, Any] = {}
        """Those that are not over, by number."""
        self._rest = b""  # of a message that has come in part
        self._parts: dict[int, list[bytes]] = {}  # of frames that come in pieces, by call
        self._queues: dict[int, deque[bytes]] = {}  # what waits for its turn: messages whole, by call
        self._is_full = False

    @property
    def is_flushed(self) -> bool:
        """Whether nothing waits for its turn."""
        return not self._queues

    # What goes out

    def tell(self, call: int, kind: int, content: bytes = b"") -> None:
        """Send a message of a call, behind what it has sent before."""
        if len(content) > PIECE or call in self._queues:
            self._wait(call, kind, content)
        else:
            self.transport.write(_pack(kind, call, len(content)) + content)

    def tell_both(self, call: int, first: int, one: bytes, second: int, other: bytes) -> None:
        """Send two messages of a call by one write, where they are small."""
        if len(one) > PIECE or len(other) > PIECE or call in self._queues:
            self.tell(call, first, one)
            self.tell(call, second, other)
        else:
            self.transport.write(b"".join((_pack(first, call, len(one)), one, _pack(second, call, len(other)), other)))

    def drop(self, call: int) -> None:
        """Send no more of what waits: nobody wants it."""
        self._queues.pop(call, None)

    def forget(self, call: int) -> None:
        """The call is over."""
        self.calls.pop(call, None)
        self._parts.pop(call, None)

    def _wait(self, call: int, kind: int, content: bytes) -> None:
        queue = self._queues.setdefault(call, deque())
        pieces = memoryview(content)
        while len(pieces) > PIECE and kind == FRAME:
            queue.append(_pack(PART, call, PIECE) + pieces[:PIECE])
            pieces = pieces[PIECE:]
        queue.append(_pack(kind, call, len(pieces)) + pieces)
        self._go_on()

    def _go_on(self) -> None:
        """Send what waits, a piece of each call in turn, as long as the kernel takes it."""
        queues = self._queues
        while queues and not self._is_full:
            call = next(iter(queues))
            queue = queues.pop(call)
            message = queue.popleft()
            if queue:
                queues[call] = queue
            self.transport.write(message)
            if not queues:
                self._flushed()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._go_on()

    # What comes in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(AHEAD)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        try:
            while end - at >= _SIZE:
                kind, call, length = _unpack(data, at)
                start = at + _SIZE
                if end - start < length:
                    break
                at = start + length
                content = data[start:at]
                if kind == PART:
                    if call in self.calls:  # else it is over here, which the other side is yet to hear
                        self._parts.setdefault(call, []).append(content)
                elif kind == FRAME and call in self._parts:
                    self._take(call, kind, b"".join((*self._parts.pop(call), content)))
                else:
                    self._take(call, kind, content)
        except msgspec.MsgspecError:  # another version of this at the other side: it is started anew
            self.transport.abort()
            return
        self._rest = data[at:] if at else data

    def connection_lost(self, exc: Exception | None) -> None:
        self._queues.clear()
        self._parts.clear()
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.end.on_left()
        self._lost()

    def _take(self, call: int, kind: int, content: bytes) -> None:
        raise NotImplementedError

    def _lost(self) -> None:
        raise NotImplementedError

    def _flushed(self) -> None:
        """Nothing waits for its turn any more."""


def room_of(content: bytes) -> int:
    """What a ROOM says."""
    return int.from_bytes(content, "big")


def room(size: int) -> bytes:
    return size.to_bytes(8, "big")


_HEADS: msgspec.msgpack.Decoder[Head] = msgspec.msgpack.Decoder(Head)
_OUTCOMES: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)


def head_of(content: bytes) -> Head:
    """Raises MsgspecError."""
    return _HEADS.decode(content)


def outcome_of(content: bytes) -> Outcome:
    """Raises MsgspecError."""
    return _OUTCOMES.decode(content)
