"""Blocking work in a thread, whose result is not lost where its caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(work: Callable[[], T], drop: Callable[[T], object]) -> T:
    """What `work` returns. Where the caller is cancelled meanwhile, `drop` gets it: a file, say, that nobody else would close."""
    piece = _Piece(work, drop)
    try:
        return await asyncio.to_thread(piece.run)
    except asyncio.CancelledError:
        piece.leave()
        raise


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
