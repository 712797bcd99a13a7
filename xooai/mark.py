"""What makes a method an endpoint: `@post` and `@stream`, and what they are told of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec
from msgspec.structs import replace

from xooai.duration import seconds_of

__all__ = ["Mark", "mark_of", "post", "stream"]

F = TypeVar("F", bound=Callable[..., Any])


class Mark(msgspec.Struct, frozen=True):
    """What `@post` and `@stream` write on a function."""

    name: str | None = None
    streams: bool = False
    cache: float | None = None  # seconds

    @property
    def decorator(self) -> str:
        return "stream" if self.streams else "post"


@overload
def post(function: F, /) -> F: ...
@overload
def post(*, name: str | None = None, cache: str | float | None = None) -> Callable[[F], F]: ...
def post(
    function: F | None = None, /, *, name: str | None = None, cache: str | float | None = None
) -> F | Callable[[F], F]:
    """Make a method an endpoint, called after the method or by `name`. The method itself stays plain Python.

    With `cache`, a length of time such as "10m" or 600, a reply is kept for so long: who calls with the same arguments is
    given it, and the method does not run. Its replies must follow from the arguments, and the caller's identity, alone.
    """
    return _marked(function, Mark(name), "@post", cache)


@overload
def stream(function: F, /) -> F: ...
@overload
def stream(*, name: str | None = None) -> Callable[[F], F]: ...
def stream(function: F | None = None, /, *, name: str | None = None, cache: object = None) -> F | Callable[[F], F]:
    """Make a method an endpoint that streams, as its annotations say.

    `-> AsyncIterator[T]` (or a generator) gives many replies, a parameter `AsyncIterator[T]` takes many requests, both are a
    conversation; a `def` has `Iterator[T]` instead, and runs in worker threads.
    """
    return _marked(function, Mark(name, streams=True), "@stream", cache)


def _marked(function: F | None, given: Mark, decorator: str, cache: object) -> F | Callable[[F], F]:
    def mark(function: F) -> F:
        if not inspect.isfunction(function):
            raise TypeError(f"{decorator} stands on a method (def or async def), not on {type(function).__name__}")
        seconds = None if cache is None else _kept_for(cache, given, function.__qualname__)
        function.__xooai__ = replace(given, cache=seconds)  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


def _kept_for(cache: object, given: Mark, where: str) -> float:
    """The seconds for which replies are kept. Raises TypeError."""
    if given.streams:
        raise TypeError(
            f"{where}: cache={repr(cache)[:80]}: the replies of an endpoint that streams are not kept; use @post"
        )
    seconds = seconds_of(cache)
    if seconds is None:
        raise TypeError(
            f"{where}: cache={repr(cache)[:80]} is no length of time; it takes a number of seconds above 0, or a text such as "
            "'90s', '10m', '12h' or '7d'"
        )
    return seconds


def mark_of(function: object) -> Mark | None:
    """What the decorator wrote, or None where none stood."""
    inner = function.__func__ if isinstance(function, staticmethod | classmethod) else function
    return vars(inner).get("__xooai__") if inspect.isfunction(inner) else None  # anything else may answer to any name
