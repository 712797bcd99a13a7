"""Blocking work in a thread: what it gives, and the file that it reads, is not lost where its caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import BinaryIO, Generic, TypeVar

__all__ = ["in_thread", "with_file"]

T = TypeVar("T")


async def in_thread(work: Callable[[], T], drop: Callable[[T], object]) -> T:
    """What `work` returns. Where the caller is cancelled meanwhile, `drop` gets it: a file, say, that nobody else would close."""
    piece = _Piece(work, drop)
    try:
        return await asyncio.to_thread(piece.run)
    except asyncio.CancelledError:
        piece.leave()
        raise


async def with_file(file: BinaryIO, work: Callable[[BinaryIO, Callable[[], bool]], T]) -> T:
    """What `work(file, is_left)` returns; it may end early where `is_left()` is true: then nobody waits. The file is closed."""
    using = _Using(file, work)
    try:
        return await asyncio.to_thread(using.run)
    finally:
        using.leave()


class _Using(Generic[T]):
    def __init__(self, file: BinaryIO, work: Callable[[BinaryIO, Callable[[], bool]], T]) -> None:
        self._file, self._work = file, work
        self._lock = Lock()
        self._is_left = False

    def run(self) -> T:
        try:
            with self._lock:
                return self._work(self._file, lambda: self._is_left)
        finally:
            if self._is_left:
                self._close()

    def leave(self) -> None:
        self._is_left = True
        self._close()

    def _close(self) -> None:
        if self._lock.acquire(blocking=False):  # else the thread that has it closes the file when it is done
            try:
                self._file.close()
            finally:
                self._lock.release()


class _Piece(Generic[T]):
    def __init__(self, work: Callable[[], T], drop: Callable[[T], object]) -> None:
        self._work, self._drop = work, drop
        self._lock = Lock()
        self._is_left = False
        self._given: list[T] = []

    def run(self) -> T:
        given = self._work()
        with self._lock:
            is_left = self._is_left
            if not is_left:
                self._given.append(given)
        if is_left:
            self._drop(given)
        return given

    def leave(self) -> None:
        with self._lock:
            self._is_left = True
            given, self._given = self._given, []
        for one in given:
            self._drop(one)
