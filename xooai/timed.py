"""The call that is being handled, as far as it is timed: whoever fetches contents for it tells that."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

__all__ = ["STAGES", "Stages", "Timed", "fetching", "found_here", "handled"]

STAGES = ("queue", "decode", "fetch", "handle", "encode")
"""Waiting for a thread, a batch or a layer; reading the arguments; having contents that are elsewhere; the handler; the reply."""


class Stages(Protocol):
    """What is told of fetching; see `xooai.timing.Timing`."""

    cached: int

    def fetch(self) -> None:
        """A content is being fetched."""

    def fetched(self) -> None:
        """It is here, or cannot be had."""


class Timed(Protocol):
    """A call; `timing` is None unless somebody wants to know."""

    @property
    def timing(self) -> Stages | None: ...


handled: ContextVar[Timed | None] = ContextVar("xooai_call", default=None)


class _Fetching:
    """A content that is elsewhere is fetched within this block."""

    __slots__ = ()

    def __enter__(self) -> None:
        call = handled.get()
        if call is not None and call.timing is not None:
            call.timing.fetch()

    def __exit__(self, *_: object) -> None:
        call = handled.get()
        if call is not None and call.timing is not None:
            call.timing.fetched()


fetching = _Fetching()


def found_here() -> None:
    """The content that is being fetched was in the cache."""
    call = handled.get()
    if call is not None and call.timing is not None:
        call.timing.cached += 1
