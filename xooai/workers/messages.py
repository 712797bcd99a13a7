"""What a supervisor and its workers tell each other, over one socket for each worker."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TypeAlias

import msgspec

__all__ = [
    "Answers",
    "Ask",
    "Beat",
    "Closing",
    "Connection",
    "Drain",
    "Failed",
    "Force",
    "Question",
    "Ready",
    "Told",
    "read_first",
    "tell",
]

LARGEST = 16 * 1024 * 1024  # bytes of a message: the numbers of a worker take some hundred KiB
WAITING = 4 * LARGEST  # bytes for one that reads no more: what comes then is dropped, and it is told hung soon
_SIZE = struct.Struct("!I")


class Beat(msgspec.Struct, tag=True):
    """The loop of a worker runs. `stage` is what it is at while it loads, "" where it serves."""

    stage: str = ""


class Ready(msgspec.Struct, tag=True):
    """A worker is set up and takes calls. `banner` is what a server alone would print now."""

    banner: str


class Failed(msgspec.Struct, tag=True):
    """A worker cannot serve, and ends: why, in one line, and the exit code of the program."""

    reason: str
    code: int


class Closing(msgspec.Struct, tag=True):
    """The loop of a worker has ended, and gives no sign of life any more; what is served is closed."""


class Drain(msgspec.Struct, tag=True):
    """End when the calls under way have ended. `is_last` says that the whole server ends, and nobody comes after."""

    is_last: bool


class Force(msgspec.Struct, tag=True):
    """Wait for calls no more."""


class Ask(msgspec.Struct, tag=True):
    """What are the answers of the others to a name?"""

    id: int
    name: str


class Answers(msgspec.Struct, tag=True):
    id: int
    answers: list[bytes]


class Question(msgspec.Struct, tag=True):
    """What is your answer to a name?"""

    id: int
    name: str


class Told(msgspec.Struct, tag=True):
    id: int
    answer: bytes | None


Message: TypeAlias = Beat | Ready | Failed | Closing | Drain | Force | Ask | Answers | Question | Told
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_ENCODER = msgspec.msgpack.Encoder()


class Connection:
    """One end of the socket between a supervisor and a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, used: socket.socket) -> Connection:
        return cls(*await asyncio.open_connection(sock=used))

    async def receive(self) -> Message | None:
        """The next message; None when the other side is there no more."""
        try:
            (size,) = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))
            return _DECODER.decode(await self._reader.readexactly(size)) if size <= LARGEST else None
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            return None

    def begin(self, data: bytes) -> None:
        """Give a worker what it starts with, before any message."""
        self._writer.write(_SIZE.pack(len(data)) + data)

    def send(self, message: Message) -> None:
        """Send without waiting; what the other side has no room for is dropped."""
        data = _ENCODER.encode(message)
        transport = self._writer.transport
        if len(data) <= LARGEST and not transport.is_closing() and transport.get_write_buffer_size() <= WAITING:
            self._writer.write(_SIZE.pack(len(data)) + data)

    def close(self) -> None:
        self._writer.close()

    async def flushed(self) -> None:
        """What was sent is on its way."""
        try:
            await self._writer.drain()
        except OSError:
            pass  # nobody is there to read it


def tell(used: socket.socket, message: Message) -> None:
    """Send where no loop runs any more. Raises OSError."""
    data = _ENCODER.encode(message)
    used.setblocking(True)
    used.sendall(_SIZE.pack(len(data)) + data)


def read_first(used: socket.socket) -> bytes:
    """What this worker starts with. Raises EOFError."""
    (size,) = _SIZE.unpack(_exactly(used, _SIZE.size))
    return _exactly(used, size)


def _exactly(used: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = used.recv(size - len(parts))
        if not part:
            raise EOFError("the supervisor is there no more")
        parts += part
    return bytes(parts)
