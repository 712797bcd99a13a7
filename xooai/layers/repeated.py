"""Who makes a call anew: one of those that stand around each other, so that their attempts are not multiplied."""

from __future__ import annotations

from contextvars import ContextVar
from enum import IntEnum
from typing import Any

from xooai.call import Call, entered

__all__ = ["By", "outer", "whoever"]


class By(IntEnum):
    """What is made anew further out, and so not by a client."""

    NOBODY = 0
    REFUSED = 1
    """Calls that a server has refused with a time to come back."""
    ALL = 2


_NONE = object()
_told: ContextVar[tuple[Any, By]] = ContextVar("xooai_repeated", default=(_NONE, By.NOBODY))


class outer:  # noqa: N801 - read as a word after `with`
    """While `with` lasts, whoever stands here makes calls anew, but for those that handlers in this process make."""

    __slots__ = ("_by", "_token")

    def __init__(self, by: By) -> None:
        self._by = by

    def __enter__(self) -> None:
        call: Call | None = entered.get()
        self._token = _told.set((call, self._by))

    def __exit__(self, *_: object) -> None:
        _told.reset(self._token)


def whoever() -> By:
    """What is made anew by whoever stands around the call that is made here."""
    call, by = _told.get()
    return by if call is entered.get() else By.NOBODY
