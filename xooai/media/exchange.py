"""What a process and a worker that decodes for it say to each other: messages, and contents beside them in memory that both see.

A content goes as an open file without a name (SCM_RIGHTS), so that a picture of 200 MB is written once and read once,
and never squeezed through a pipe. Nothing is pickled: what a worker says is checked as what a peer says is.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterable
from io import FileIO
from typing import Any, Literal, TypeVar

import msgspec

__all__ = ["MESSAGE", "Asked", "Given", "Limits", "Look", "Refusal", "hear", "kept", "tell"]

MESSAGE = 32 * 1024 * 1024  # bytes: a picture's metadata goes inside of its message, and has half of that at most
_LENGTH = 4  # bytes before each message, big-endian
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has none

Work = Literal["pil", "array", "audio", "rate", "film", "frame", "end"]


class Limits(msgspec.Struct, frozen=True):
    """What one piece of work may take: a picture, a sound, or a frame of a film."""

    memory: int = 3 * 1024**3
    """Bytes of address space. The largest picture takes 1.5 GiB (as WebP, to an array), the largest film 0.8 GiB."""
    cpu: int = 60
    """Seconds of processor time. The slowest of what the other limits let through, 512 MiB of Opus, takes 6."""
    patience: float = 180.0
    """Seconds until a worker that says nothing is ended: three times `cpu`, for machines that have much to do."""
    wait: float = 60.0
    """Seconds that a piece of work waits for a worker while all have work."""


class Asked(msgspec.Struct, frozen=True):
    """A piece of work; the content is in the file beside it."""

    work: Work
    user: str = ""
    step: int = 1


class Look(msgspec.Struct, frozen=True):
    """What a picture is beside its pixels."""

    mode: str
    size: tuple[int, int]
    format: str | None
    info: dict[str, Any]
    palette: tuple[str, bytes] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """One of our errors."""

    code: int
    message: str
    details: dict[str, Any]


class Given(msgspec.Struct, frozen=True):
    """What came of it; pixels and samples are in the file beside it. Nothing of all is the end of a film."""

    look: Look | None = None
    shape: tuple[int, ...] | None = None
    rate: int | None = None
    refusal: Refusal | None = None


Message = TypeVar("Message", Asked, Given)


def tell(end: socket.socket, message: Asked | Given, file: int | None = None) -> None:
    """Send a message, and an open file beside it. Raises OSError."""
    body = msgspec.msgpack.encode(message)
    socket.send_fds(end, [len(body).to_bytes(_LENGTH, "big")], [] if file is None else [file])
    end.sendall(body)


def hear(end: socket.socket, kind: type[Message], patience: float | None = None) -> tuple[Message, FileIO | None]:
    """Return the next message, and the file beside it, which is the caller's to close.

    Raises EOFError when the other side has ended, TimeoutError after `patience` seconds, OSError, and msgspec's
    ValidationError or DecodeError for what is no such message.
    """
    until = None if patience is None else time.monotonic() + patience
    end.settimeout(patience)
    head, files, _, _ = socket.recv_fds(end, _LENGTH, 1, _CLOSE_ON_EXEC)
    file = FileIO(files[0], "rb") if files else None
    try:
        head += _received(end, _LENGTH - len(head), until) if head else b""
        length = int.from_bytes(head, "big")
        if not head:
            raise EOFError
        if length > MESSAGE:
            raise msgspec.ValidationError(f"a message of {length:,} bytes; the limit is {MESSAGE:,}")
        return msgspec.msgpack.decode(_received(end, length, until), type=kind), file
    except BaseException:
        if file is not None:
            file.close()
        raise


def _received(end: socket.socket, length: int, until: float | None) -> bytes:
    body = bytearray(length)
    view = memoryview(body)
    while view:
        if until is not None:
            end.settimeout(max(until - time.monotonic(), 0.001))  # 0 would mean: do not wait
        count = end.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(body)


def kept(chunks: Iterable[bytes | memoryview]) -> FileIO:
    """Return a file in memory, without a name, that holds `chunks`. Where there is no such thing, it is on the disk."""
    if hasattr(os, "memfd_create"):
        file = FileIO(os.memfd_create("xooai"), "r+b")
    else:
        with tempfile.TemporaryFile(buffering=0) as there:
            file = FileIO(os.dup(there.fileno()), "r+b")
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) :]
    except BaseException:
        file.close()
        raise
    return file
