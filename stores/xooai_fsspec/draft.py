"""A content while it is written to a directory: seen by nobody before it is published, removed when it is abandoned."""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Lock
from typing import BinaryIO

from xooai.content import Verifier, key_of
from xooai.errors import InvalidArgument, Unavailable
from xooai.signature import Hasher
from xooai_fsspec.tree import Tree

__all__ = ["Draft"]

TURN = 16 * 1024 * 1024  # bytes of a file that a thread copies before others have their turn: there are few threads
STEP = 256 * 1024  # bytes hashed, then written: what was hashed is still in the core's own cache when it is copied


class Draft:
    """All methods block, and are called in threads, one after the other; `abandon` may be called while another is at work."""

    def __init__(self, tree: Tree, hasher: Hasher | Verifier) -> None:
        self.is_abandoned = False
        """Whoever sets it calls `abandon` in a thread: what is being written then ends within a step."""
        self._tree, self._hasher = tree, hasher
        self._fd: int | None = None
        self._name = ""
        self._lock = Lock()

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append chunks. Raises DataLoss as soon as it is too much."""
        with self._lock:
            for chunk in chunks:
                view = memoryview(chunk)
                for place in range(0, len(view), STEP):
                    self._write(view[place : place + STEP])

    def copy(self, file: BinaryIO) -> bool:
        """Append what is left to read in a file, up to `TURN` bytes; whether there may be more."""
        buffer = memoryview(bytearray(STEP))
        with self._lock:
            for _ in range(TURN // STEP):
                size = _read_into(file, buffer)
                if not size:
                    return False
                self._write(buffer[:size])
        return True

    def publish(self, signature: str, size: int, *, durable: bool) -> None:
        """Give it its place, now that all is written and right."""
        with self._lock:
            self._check()
            fd = self._opened()  # nothing was written of an empty content
            if durable:
                os.fsync(fd)
            self._fd = None
            os.close(fd)  # may tell that there was no room, on network filesystems
            self._tree.publish(self._name, key_of(signature), size, is_read=durable)
            self._name = ""
        if durable:
            self._tree.sync(key_of(signature))

    def abandon(self, source: BinaryIO | None = None) -> None:
        """Remove it, and close what it is read from, when the thread at work on it has stopped; what was published stays."""
        with self._lock:
            if source is not None:
                source.close()
            fd, self._fd = self._fd, None
            try:
                if fd is not None:
                    os.close(fd)
            except OSError:
                pass  # of a file that goes anyway
            if self._name:
                self._tree.discard(self._name)

    def _opened(self) -> int:
        if self._fd is None:
            self._fd, self._name = self._tree.draft()
        return self._fd

    def _check(self) -> None:
        if self.is_abandoned:
            raise Unavailable("nobody waits for this content any more")

    def _write(self, piece: memoryview) -> None:
        self._check()
        self._hasher.update(piece)
        fd = self._opened()
        while piece:
            piece = piece[os.write(fd, piece) :]


def _read_into(file: BinaryIO, buffer: memoryview) -> int:
    try:
        size: int | None = file.readinto(buffer)  # type: ignore[attr-defined]
    except OSError as error:
        raise Unavailable(f"the file that is to be put cannot be read: {error.strerror}") from error
    if size is None:
        raise InvalidArgument("the file that is to be put does not wait for what it has not got yet; make it blocking")
    return size
