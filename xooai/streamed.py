"""Which sides of a call stream: read off a method's annotations."""

from __future__ import annotations

import inspect
import typing
from collections import abc
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from xooai.driver import Shape

__all__ = ["UNTOLD", "Streamed", "reply_of", "request_of", "shape_of"]

UNTOLD: Any = inspect.Parameter.empty
"""The item of a stream whose annotation does not say."""

_ASYNC = (abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator)
_GENERATORS = (abc.Generator, abc.AsyncGenerator)
_BLOCKING = (abc.Iterator, abc.Iterable, abc.Generator)


class Streamed(msgspec.Struct, frozen=True):
    """A stream of items, taken or given by `async for`, or by `for`."""

    item: Any
    is_async: bool


def _of(annotation: Any) -> Streamed | None:
    origin = typing.get_origin(annotation) or annotation
    if origin not in _ASYNC and origin not in _BLOCKING:
        return None
    return Streamed((typing.get_args(annotation) or (UNTOLD,))[0], origin in _ASYNC)


def request_of(function: Callable[..., Any], hints: Mapping[str, Any], where: str) -> tuple[str, Streamed] | None:
    """The parameter that is a stream, if there is one. Raises TypeError."""
    names = [name for name in list(inspect.signature(function).parameters)[1:] if name in hints]
    found = [(name, stream) for name in names if (stream := _of(hints[name])) is not None]
    if len(found) > 1:
        raise TypeError(f"{where}: {found[0][0]!r} and {found[1][0]!r} are streams; a call has one stream each way")
    for name, stream in found:
        if (typing.get_origin(hints[name]) or hints[name]) in _GENERATORS:
            raise TypeError(
                f"{where}: {name!r} is a generator; a stream that is taken is Iterator[T] or AsyncIterator[T]"
            )
        if inspect.signature(function).parameters[name].default is not inspect.Parameter.empty:
            raise TypeError(f"{where}: the stream {name!r} has a default; a stream is given or empty, so leave it out")
        if stream.is_async is not _is_async(function):
            raise TypeError(
                f"{where}: {name!r} is {'an AsyncIterator' if stream.is_async else 'an Iterator'}; "
                + ("an async def takes an AsyncIterator[T]" if _is_async(function) else "a def takes an Iterator[T]")
            )
    return found[0] if found else None


def reply_of(function: Callable[..., Any], hints: Mapping[str, Any], where: str) -> Streamed | None:
    """The stream that a method gives, None where its reply is one. Raises TypeError."""
    told = hints.get("return", UNTOLD)
    stream = _of(told)
    yields = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    if stream is None and yields:
        if told is not UNTOLD:
            kind = "AsyncIterator" if _is_async(function) else "Iterator"
            raise TypeError(f"{where}: this method has a yield, and its annotation is not {kind}[T]")
        return Streamed(UNTOLD, _is_async(function))
    if stream is not None and stream.is_async and not _is_async(function):
        raise TypeError(f"{where}: a def gives an Iterator[T]; for an AsyncIterator[T] make it an async def")
    if stream is not None and not stream.is_async and _is_async(function):
        raise TypeError(f"{where}: an async def gives an AsyncIterator[T]; for an Iterator[T] make it a def")
    return stream


def shape_of(request: object | None, reply: object | None) -> Shape:
    """The shape of a call that streams where these are not None."""
    return (Shape.UNARY if request is None else Shape.CLIENT) | (Shape.UNARY if reply is None else Shape.SERVER)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
