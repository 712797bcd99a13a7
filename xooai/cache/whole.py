"""The signature of an open file, hashed in a thread that stops when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import BinaryIO

from xooai.errors import Unavailable
from xooai.signature import Hasher

__all__ = ["signature_of"]

STEP = 256 * 1024  # bytes read at once, then hashed while they are in the core's own cache


async def signature_of(file: BinaryIO, algorithm: str) -> str:
    """The signature of what is left to read in a file, which is closed. Raises OSError."""
    hashing = _Hashing(file, algorithm)
    try:
        return await asyncio.to_thread(hashing.run)
    finally:
        hashing.leave()


class _Hashing:
    def __init__(self, file: BinaryIO, algorithm: str) -> None:
        self._file, self._algorithm = file, algorithm
        self._lock = Lock()
        self._is_left = False

    def run(self) -> str:
        try:
            with self._lock:
                return self._hashed()
        finally:
            self._close()

    def leave(self) -> None:
        self._is_left = True
        self._close()

    def _hashed(self) -> str:
        hasher = Hasher(self._algorithm)
        buffer = memoryview(bytearray(STEP))
        while not self._is_left:
            size: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
            if not size:
                return hasher.signature
            hasher.update(buffer[:size])
        raise Unavailable("nobody waits for this any more")

    def _close(self) -> None:
        if self._lock.acquire(blocking=False):  # else the thread that has it closes the file when it is done
            try:
                self._file.close()
            finally:
                self._lock.release()
