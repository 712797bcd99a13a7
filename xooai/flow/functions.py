"""Plain functions as nodes of a Flow: called as endpoints are, with what their annotations say."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from xooai.call import remaining
from xooai.endpoint import ANYTHING, Endpoint
from xooai.errors import FlowError
from xooai.local import Local
from xooai.shared_stores import NONE
from xooai.threads import Threads

if TYPE_CHECKING:
    from xooai.flow.trace import Watch

__all__ = ["Function"]


class Function:
    """A plain function; without annotations it takes and gives anything."""

    host = ""

    def __init__(self, function: Callable[..., Any], namespace: Mapping[str, Any], threads: Threads) -> None:
        """`threads` are those of all functions of a Flow."""
        self.path = self.name = _name(function)
        try:
            method = _method(function, namespace)
            self.known = Endpoint.of(method, self.name, self.name)
        except (NameError, TypeError, ValueError) as error:
            raise FlowError(f"{function!r} cannot be a node: {error}") from error
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
        self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None, watch: Watch | None = None
    ) -> Any:
        return await self._local.pass_on(endpoint, arguments, remaining(timeout), watch)

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
    if inspect.isgeneratorfunction(written) or inspect.isasyncgenfunction(written):
        raise TypeError("it has a yield, and a node gives one reply")

    def method(self: Any, **arguments: Any) -> Any:
        return function(**arguments)

    async def amethod(self: Any, **arguments: Any) -> Any:
        return await function(**arguments)

    made: Any = amethod if inspect.iscoroutinefunction(written) else method
    made.__name__, made.__doc__ = _name(function), inspect.getdoc(written)
    made.__signature__ = signature.replace(parameters=[itself, *signature.parameters.values()])
    made.__annotations__ = {name: hints.get(name, ANYTHING) for name in signature.parameters}
    if "return" in hints:
        made.__annotations__["return"] = hints["return"]
    return cast(Callable[..., Any], made)
