"""How long something may take, on a fast machine and on a slow one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["at_once"]

MEGABYTE = 1024 * 1024


def _looped() -> float:
    """Seconds of this thread for a loop over a megabyte."""
    began = time.thread_time()
    for _ in bytes(MEGABYTE):
        pass
    return time.thread_time() - began


@contextmanager
def at_once() -> Iterator[None]:
    """Take no more time of this thread than a loop over 300 MB does, on any machine: a few seconds, and far below the square."""
    began = time.thread_time()
    yield
    took = time.thread_time() - began
    if took > 0.1:
        assert took < 300 * min(_looped() for _ in range(3))
