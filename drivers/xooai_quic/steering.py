"""Which of several processes at one port a datagram goes to: a program in the kernel, and who answers for those that have ended.

Each process has a socket of its own, all of them bound to the port (SO_REUSEPORT) and held open by their supervisor, so that a
socket keeps its number. The program chooses one by the name of the connection: what this server has named goes to the process
that the name tells; what a client has named, which is new, to one of those that are ready. A packet filter may do so without
privileges (SO_ATTACH_REUSEPORT_CBPF, socket(7), Linux 4.5 and later).
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress

from xooai_quic.connection import REFUSED
from xooai_quic.names import LONG, SIZE, PerSecond, Resets
from xooai_quic.refusal import refusal

__all__ = ["Steering", "program"]

Instruction = tuple[int, int, int, int]
"""Code, where to go on if it is true, and if not, and a number (linux/filter.h)."""

_ATTACH = 51  # SO_ATTACH_REUSEPORT_CBPF, which Python has no name for (asm-generic/socket.h)
_LOAD, _EQUAL, _ANY, _MODULO = 0x30, 0x15, 0x45, 0x94  # a byte; whether it is, or has bits of, a number; the rest
_IT, _NUMBER = 0x16, 0x06  # what is returned: the byte, or a number
_SHORT_NAME, _LENGTH, _LONG_NAME = 1, 5, 6  # where they stand in a datagram (RFC 9000 17)
_AT_ONCE = 64  # datagrams answered in one turn of the loop
_LARGEST = 2048  # bytes read of one: more than is needed of it


def program(ready: Sequence[int], other: int) -> list[Instruction]:
    """Choose a socket by number; what is new goes to those that are ready, or where there is none to the `other`.

    A number that no socket has leaves the choice to the kernel.
    """
    chosen: list[Instruction] = [(_NUMBER, 0, 0, other)]
    if ready:
        first = (_MODULO, 0, 0, len(ready))
        others = [step for at, place in enumerate(ready) for step in ((_EQUAL, 0, 1, at), (_NUMBER, 0, 0, place))]
        chosen = [first, *others, *chosen]
    return [
        (_LOAD, 0, 0, 0),
        (_ANY, 2, 0, LONG),
        (_LOAD, 0, 0, _SHORT_NAME),
        (_IT, 0, 0, 0),
        (_LOAD, 0, 0, _LENGTH),
        (_EQUAL, 0, 2, SIZE),
        (_LOAD, 0, 0, _LONG_NAME),
        (_IT, 0, 0, 0),
        (_LOAD, 0, 0, _LONG_NAME),
        *chosen,
    ]


def attach(group: Sequence[socket.socket], steps: Sequence[Instruction]) -> None:
    """Have a program choose among sockets at one port. Raises OSError."""
    if sys.platform != "linux":
        raise OSError("only Linux takes a program that deals datagrams")
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    group[0].setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", len(steps), ctypes.addressof(code)))


class Steering:
    """The sockets of a listener, by the places of processes. Implements `xooai.driver.Steering`."""

    def __init__(self, places: Sequence[Sequence[socket.socket]], secret: bytes) -> None:
        """`places` are of each process the sockets at all addresses. Raises OSError where the kernel cannot be told."""
        self._places = places
        self._resets, self._refusals = Resets(secret), PerSecond()
        self._loop = asyncio.get_running_loop()
        self._is_ready = False
        self._read: set[int] = set()
        """The places for which this answers."""
        self.direct((), ())

    def direct(self, ready: Collection[int], listening: Collection[int]) -> None:
        """Deal new connections to those that are ready, and answer for all that do not listen."""
        absent = set(range(len(self._places))) - set(listening)
        for place in self._read - absent:
            for one in self._places[place]:
                self._loop.remove_reader(one)
        other = next(iter(absent), 0)
        steps = program(sorted(ready), other)
        for group in zip(*self._places, strict=True):
            attach(group, steps)
        for place in absent - self._read:
            for one in self._places[place]:
                self._loop.add_reader(one, self._answer, one)
        self._read, self._is_ready = absent, bool(ready)

    def close(self) -> None:
        """Answer nothing more. The sockets are left to who has taken them."""
        for place in self._read:
            for one in self._places[place]:
                self._loop.remove_reader(one)
        self._read = set()

    def _answer(self, bound: socket.socket) -> None:
        """Say to clients of a process that has ended that their connections have, and to new ones that nobody is there."""
        for _ in range(_AT_ONCE):
            try:
                data, address = bound.recvfrom(_LARGEST)
            except OSError:  # nothing more, or what the kernel tells of an earlier answer
                return
            if not data:
                continue
            if (said := self._said(data)) is not None:
                with suppress(OSError):
                    bound.sendto(said, address)

    def _said(self, data: bytes) -> bytes | None:
        now = self._loop.time()
        if not data[0] & LONG:
            return self._resets.answer(data, now, self._read)
        if self._is_ready and data[_LENGTH : _LENGTH + 1] != bytes([SIZE]):
            return None  # it was meant for one that has just ended, and is sent again to one that is ready
        if not self._refusals.allows(now):
            return None
        try:
            return refusal(data, REFUSED, "the process of this server that was to answer is not up")
        except ValueError:
            return None
