"""Executors that are made for a Flow: by their class, for one node, or for several that share one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from xooai import forks
from xooai.call import Layer
from xooai.declare import chosen
from xooai.endpoint import Endpoint
from xooai.errors import FlowError, XooaiError
from xooai.flow.failure import Raised
from xooai.flow.targets import Arguments, Own, known_of
from xooai.log import logger
from xooai.served import Served

if TYPE_CHECKING:
    from xooai.flow.trace import Watch
    from xooai.streams import Stream

__all__ = ["Made", "Maker"]

_log = logger("xooai")


class Maker:
    """An executor by its class: made once, before the first call, and closed with the Flow, once no call runs on it."""

    def __init__(self, kind: type[Served], with_: Mapping[str, Any], name: str = "") -> None:
        """`name` is what a file calls it, for the nodes that share it."""
        self.kind, self.with_, self.name = kind, dict(with_), name
        self._held: _Owned | None = None
        self.renew()
        forks.renewed(self)
        try:
            inspect.signature(kind).bind(**with_)
        except TypeError as error:
            raise FlowError(f"with_={self.with_!r} is not what {kind.__name__}() takes: {error}") from None
        except ValueError:
            pass  # nothing is known of its constructor

    def __repr__(self) -> str:
        return f"<{self.kind.__name__} {self.name!r}>"

    def renew(self) -> None:
        """Forget what the parent's threads are at, in the child of a fork: there nobody else makes the executor, or calls it."""
        self._making, self._counting = Lock(), Lock()
        if self._held is not None:
            self._held.calls = 0

    def close(self) -> None:
        """Close the executor, now or as the last call on it ends; who calls from now on has another one made."""
        with self._counting:
            held, self._held = self._held, None
            if held is None:
                return
            held.is_left = True
            if held.calls:
                return
        held.executor.__exit__()

    async def entered(self) -> _Owned:
        """The executor, which is not closed before `leave`."""
        while True:
            with self._counting:
                held = self._held
                if held is not None:
                    held.calls += 1
                    return held
            if asyncio._get_running_loop() is None:
                self._make()
            else:
                await asyncio.to_thread(self._make)  # its constructor may load a model

    def leave(self, held: _Owned) -> None:
        with self._counting:
            held.calls -= 1
            is_last = held.is_left and not held.calls
        if is_last:  # in a thread, since this is a loop that others wait for
            Thread(target=held.end, name="xooai-close").start()

    def _make(self) -> None:
        with self._making:
            if self._held is None:
                try:
                    executor = self.kind(**self.with_)
                except XooaiError:
                    raise
                except Exception as error:
                    raise Raised(f"the constructor of {self.kind.__name__}") from error
                self._held = _Owned(executor, None)


class Made:
    """An endpoint of an executor that is made for the Flow."""

    host = ""

    def __init__(self, maker: Maker, on: str | None) -> None:
        self._maker, self._kind, self._on = maker, maker.kind, on

    @property
    def layers(self) -> Sequence[Layer]:
        """Those of the executor, once it is there."""
        held = self._maker._held
        return () if held is None else held.layers

    @property
    def path(self) -> str:
        known = self.known
        return f"{self._kind._xooai_class_name}/{known.name if known is not None else self._on}"

    @property
    def known(self) -> Endpoint | None:
        try:
            endpoints = self._kind._xooai_declared.endpoints
        except NameError:  # an annotation that is defined later
            return None
        return known_of(endpoints, self._on, self._kind.__name__)

    def warnings(self) -> list[str]:
        """What may go wrong once the executor is made."""
        strays = _strays(self._kind, self._maker.with_)
        return [f"with_= has {name!r}, which {self._kind.__name__}() passes on and nobody takes" for name in strays]

    async def endpoint(self, timeout: float | None) -> Endpoint:
        return chosen(self._kind._xooai_declared.endpoints, self._on, self._kind.__name__)

    async def set_up(self) -> None:
        held = await self._maker.entered()
        try:
            await held.set_up()
        finally:
            self._maker.leave(held)

    async def warm(self, done: set[object]) -> None:
        held = await self._maker.entered()
        try:
            await held.executor._xooai_local().warm(await self.endpoint(None), done)
        finally:
            self._maker.leave(held)

    async def call(
        self,
        endpoint: Endpoint,
        arguments: Arguments,
        timeout: float | None,
        watch: Watch | None = None,
        wanted: str = "",
    ) -> Any:
        held = await self._maker.entered()
        try:
            return await held.call(endpoint, arguments, timeout, watch)
        finally:
            self._maker.leave(held)

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> AsyncIterator[Stream]:
        held = await self._maker.entered()
        try:
            async with held.open(endpoint, arguments, timeout) as stream:
                yield stream
        finally:
            self._maker.leave(held)

    def forget(self) -> None:
        """Nothing: its class says what it takes."""

    def close(self) -> None:
        self._maker.close()


def _strays(kind: type, given: Iterable[str]) -> list[str]:
    """The names that go from constructor to constructor by **kwargs, as far as can be seen, to one that does not take them."""
    left = dict.fromkeys(given)
    for one in kind.__mro__:
        made = inspect.unwrap(one.__dict__.get("__init__", _passing))
        code = getattr(made, "__code__", None)
        if code is None:
            return []
        known = inspect.signature(made).parameters.values()
        for parameter in known:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                left.pop(parameter.name, None)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known):
            return list(left)
        if made is not _passing and "super" not in code.co_names:  # it keeps them itself
            return []
    return []


def _passing(self: object, **kwargs: object) -> None:
    """Stands for the constructor of a class that has none of its own."""


class _Owned(Own):
    """An executor that was made for the Flow: the calls under way on it, and whether it is to be closed after them."""

    calls = 0
    is_left = False

    def end(self) -> None:
        try:
            self.executor.__exit__()
        except Exception:  # noqa: BLE001 - nobody is there to catch it
            _log.exception("%s failed to close", self.executor.name)
