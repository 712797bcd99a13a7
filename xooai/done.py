"""What is awaited and is done at once: for functions that wait only sometimes, where a coroutine for each call would cost more
than what it does.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

__all__ = ["DONE", "Done"]


class Done:
    """`await DONE` goes on at once."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return _NOTHING


def _nothing() -> Generator[Any, None, None]:
    return
    yield


_NOTHING = _nothing()
for _ in _NOTHING:  # from here on it says that it is over, to all who share it
    pass
DONE = Done()
