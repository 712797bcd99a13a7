"""An endpoint called for many documents: what is given to `map` and `amap`, and how their results are taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sized
from functools import partial
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from pydantic import BaseModel

from xooai import sync
from xooai.call import checked_timeout, remaining
from xooai.declare import chosen
from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, ResourceExhausted, Unavailable, XooaiError
from xooai.layers.repeated import By, outer
from xooai.lazy import lazy
from xooai.many import Many, Mapped, Way

if TYPE_CHECKING:
    from xooai import progress
else:
    progress = lazy("xooai.progress")

__all__ = ["Asked", "Caller", "Mapped", "blocking", "called", "taken"]


MOST = 1024  # calls that a server takes at a time
ATTEMPTS = 10  # of a call that a server refuses to begin: with their pauses, longer than a restart takes
LONGEST = 30.0  # seconds for which a server that has too much to do sends callers away
_UNARY = Shape.UNARY


class Caller(Protocol):
    """An executor or a Flow."""

    @property
    def name(self) -> str: ...

    @property
    def _xooai_remote(self) -> object: ...

    def _xooai_known(self) -> Mapping[str, Endpoint] | None: ...

    async def apost(self, on: str | None = None, /, **arguments: Any) -> Any: ...

    async def _xooai_found(
        self, on: str | None, timeout: float | None
    ) -> tuple[object, str, Endpoint, float | None]: ...


class Asked(msgspec.Struct, frozen=True):
    """What `map` was asked for. `timeout` is in seconds, for each item; `own` what else each call has of its own."""

    caller: Caller
    on: str | None
    docs: Any
    calls: Any
    concurrency: int
    ordered: bool
    on_error: str
    timeout: float | None
    progress: bool
    own: Mapping[str, Any]
    constants: Mapping[str, Any]
    until: float | None = None
    """When the time for all of it is over, in monotonic seconds."""

    def __post_init__(self) -> None:
        if (self.docs is None) == (self.calls is None):
            raise InvalidArgument(
                "map takes either docs=, the values of one parameter, or calls=, mappings of arguments by name"
            )
        if isinstance(self.source, str | bytes | Mapping | BaseModel) or not _gives_items(self.source):
            raise InvalidArgument(
                f"map takes an iterable of documents, not one {type(self.source).__name__}; use post()"
            )
        if type(self.concurrency) is not int or not 1 <= self.concurrency <= MOST:
            raise InvalidArgument(f"concurrency={self.concurrency!r} is no number of calls from 1 to {MOST:,}")
        if self.on_error not in ("raise", "keep"):
            raise InvalidArgument(f"on_error={self.on_error!r} is not known; it takes 'raise' or 'keep'")
        if self.timeout is not None:
            checked_timeout(self.timeout)
        if self.progress:
            progress.check()
        known = self.caller._xooai_known()
        if known is not None and "/" not in str(self.on):  # else it is elsewhere, and told with the first item
            self.target(chosen(known, self.on, self.caller.name))

    @property
    def source(self) -> Any:
        return self.calls if self.docs is None else self.docs

    @property
    def way(self) -> Way:
        return Way(self.concurrency, bool(self.ordered), self.on_error == "keep")

    def given(self, one: Mapped) -> Any:
        """What whoever takes the results gets."""
        return one.result if self.ordered and self.on_error == "raise" else one

    def target(self, endpoint: Endpoint) -> str | None:
        """The parameter that the items are values of; None where each is a mapping of arguments. Raises InvalidArgument."""
        if endpoint.shape is not _UNARY:
            raise endpoint.misshapen(_UNARY)
        if self.docs is None:
            endpoint.check({**dict.fromkeys(endpoint.parameters), **self.constants})
            return None
        open_ones = [one for name, one in endpoint.parameters.items() if name not in self.constants]
        needed = [one.name for one in open_ones if one.required] or [one.name for one in open_ones[:1]]
        if len(needed) != 1:
            problem = f"needs {' and '.join(map(repr, needed))}" if needed else "takes no parameter but the constants"
            raise InvalidArgument(
                f"{endpoint.name} {problem}: docs= gives the values of one parameter; give the others as constants, "
                "or all by calls=, mappings of arguments by name"
            )
        endpoint.check({**self.constants, needed[0]: None})
        return needed[0]


def _gives_items(source: object) -> bool:
    """Whether it is an iterable; datasets may have places only, as Python's oldest protocol has it."""
    return isinstance(source, Iterable | AsyncIterable) or hasattr(type(source), "__getitem__")


class _Calls:
    """The calls of one `map`, which begin when its first result is asked for."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._many: Many | None = None
        self._bar: progress.Bar | None = None

    async def more(self) -> list[Mapped]:
        many = self._many or await self._begun()
        return await many.more()

    async def _begun(self) -> Many:
        asked = self._asked
        _, _, endpoint, _ = await asked.caller._xooai_found(asked.on, None)
        parameter = asked.target(endpoint)
        many = self._many = Many(partial(called, asked, endpoint, parameter), asked.source, asked.way)
        if asked.progress:
            total = len(asked.source) if isinstance(asked.source, Sized) else None
            self._bar = progress.Bar(endpoint.name, total, many)
        return many

    async def aclose(self) -> None:
        try:
            if self._many is not None:
                await self._many.aclose()
        finally:
            if self._bar is not None:
                self._bar.close()


async def taken(asked: Asked) -> AsyncGenerator[Any, None]:
    """The results, for async code."""
    # Not a method: in a circle with its object it would outlive the loop that somebody left, until the next collection.
    calls = _Calls(asked)
    try:
        while batch := await calls.more():
            for one in batch:
                yield asked.given(one)
    finally:
        await calls.aclose()


def blocking(asked: Asked) -> Generator[Any, None, None]:
    """The results, each waited for. Leaving the loop cancels what is under way."""
    calls = _Calls(asked)
    try:
        while True:
            sync.refuse_on_serving_loop("a step of map()", "anext() of amap(...)")
            batch = sync.run(calls.more())
            if not batch:
                return
            for one in batch:
                yield asked.given(one)
    finally:
        sync.leave(calls.aclose)


async def called(asked: Asked, endpoint: Endpoint, parameter: str | None, item: Any) -> Any:
    """Call once; again, after the pause that it asks for, where a server has refused to begin the call."""
    if parameter is not None:
        arguments = {**asked.constants, parameter: item}
    elif isinstance(item, Mapping):
        arguments = {**asked.constants, **item}
        endpoint.check(arguments)
    else:
        raise InvalidArgument(f"calls= gives mappings of arguments by name; this one is {type(item).__name__}")
    own, given = asked.own, asked.timeout
    end = asked.until if given is None else monotonic() + given
    is_elsewhere = asked.caller._xooai_remote is not None or (isinstance(asked.on, str) and "/" in asked.on)
    with outer(By.REFUSED if is_elsewhere else By.NOBODY):
        for _ in range(ATTEMPTS - 1):
            try:
                return await asked.caller.apost(asked.on, timeout=_left(end), **own, **arguments)
            except (ResourceExhausted, Unavailable) as error:
                pause, left = _pause(error), remaining(_left(end))
                if pause is None or (left is not None and pause >= left):
                    raise
            await asyncio.sleep(pause)
        return await asked.caller.apost(asked.on, timeout=_left(end), **own, **arguments)


def _left(end: float | None) -> float | None:
    return None if end is None else end - monotonic()


def _pause(error: XooaiError) -> float | None:
    """Seconds until a call is to be made anew; None where nobody asked for that, or something of it has run.

    Up to half longer than was asked for: those that were refused together do not come back together.
    """
    asked = error.details.get("retry_after")
    if not isinstance(asked, int | float) or "node" in error.details or error.details.get("began") is True:
        return None
    return max(0.0, asked) * uniform(1, 1.5) if asked <= LONGEST else None
