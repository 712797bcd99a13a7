"""Plain functions as nodes of a Flow: called as endpoints are, with what their annotations say."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from xooai.call import Layer, remaining
from xooai.endpoint import Endpoint
from xooai.errors import FlowError
from xooai.local import Local
from xooai.shared_stores import NONE
from xooai.streamed import reply_of, request_of
from xooai.threads import Threads
from xooai.untyped import ANYTHING

if TYPE_CHECKING:
    from xooai.flow.trace import Watch
    from xooai.streams import Stream

__all__ = ["Function"]


class Function:
    """A plain function; without annotations it takes and gives anything."""

    host = ""
    layers: Sequence[Layer] = ()

    def __init__(self, function: Callable[..., Any], namespace: Mapping[str, Any], threads: Threads) -> None:
        """`threads` are those of all functions of a Flow."""
        self.path = self.name = _name(function)
        try:
            method = _method(function, namespace)
            hints = method.__annotations__
            streams = any(found(method, hints, self.name) is not None for found in (request_of, reply_of))
            self.known = Endpoint.of(method, self.name, self.name, streams=streams)
        except (NameError, TypeError, ValueError) as error:
            raise FlowError(
                f"use={getattr(function, '__name__', repr(function)):.80} cannot be a node: {error}"
            ) from error
        self.endpoints = {self.name: self.known}
        self.attributes = {self.name: "run"}
        self.run = functools.partial(method, self)
        self._local = Local(self, self, (), NONE, has_setup=False, threads=threads)

    async def endpoint(self, timeout: float | None) -> Endpoint:
        return self.known

    async def setup(self) -> None:
        """Nothing: it is there."""

    async def set_up(self) -> None:
        """Nothing: it is there."""

    async def call(
        self, endpoint: Endpoint, arguments: Any, timeout: float | None, watch: Watch | None = None, wanted: str = ""
    ) -> Any:
        return await self._local.pass_on(endpoint, arguments, remaining(timeout), watch)

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> AsyncIterator[Stream]:
        yield await self._local.open_on(endpoint, arguments, remaining(timeout))

    def forget(self) -> None:
        """Nothing: its annotations say what it takes."""

    def close(self) -> None:
        self._local.close()


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", "") or type(function).__name__
    return re.sub(r"\W+", "_", name).strip("_") or "function"


def _method(function: Callable[..., Any], namespace: Mapping[str, Any]) -> Callable[..., Any]:
    """The function as a method whose annotations are types, those that it does not have among them."""
    signature = inspect.signature(function)
    written = function if inspect.isroutine(function) else getattr(function, "func", type(function).__call__)
    hints = typing.get_type_hints(written, localns=dict(namespace), include_extras=True)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    given = _yields(written, hints)
    if given is not None:
        hints["return"] = given

    def method(self: Any, **arguments: Any) -> Any:
        return function(**arguments)

    async def amethod(self: Any, **arguments: Any) -> Any:
        return await function(**arguments)

    async def agenerator(self: Any, **arguments: Any) -> Any:
        return function(**arguments)

    made: Any = amethod if inspect.iscoroutinefunction(written) else method
    if inspect.isasyncgenfunction(written):
        made = agenerator
    made.__name__, made.__doc__ = _name(function), inspect.getdoc(written)
    made.__signature__ = signature.replace(parameters=[itself, *signature.parameters.values()])
    made.__annotations__ = {name: hints.get(name, ANYTHING) for name in signature.parameters}
    if "return" in hints:
        made.__annotations__["return"] = hints["return"]
    return cast(Callable[..., Any], made)


def _yields(written: Any, hints: Mapping[str, Any]) -> Any:
    """The annotation of a generator that has none."""
    if "return" in hints or not (inspect.isgeneratorfunction(written) or inspect.isasyncgenfunction(written)):
        return None
    return AsyncIterator if inspect.isasyncgenfunction(written) else Iterator
