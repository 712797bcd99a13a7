"""What answers the calls to each path of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from xooai.call import Call, Layer, Service, StreamCall, composed
from xooai.driver import METRICS, Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, NotFound
from xooai.handler import Serving, handler
from xooai.hints import nearest
from xooai.kept import SHAPES, Contents
from xooai.layers import limit
from xooai.lazy import lazy
from xooai.shared_stores import Stores
from xooai.tally import Calls, batches, calls
from xooai.threads import Threads

if TYPE_CHECKING:
    from xooai import batch, describe, metrics, results
    from xooai import stream_handler as streaming
else:
    batch = lazy("xooai.batch")  # few endpoints take them
    describe = lazy("xooai.describe")
    metrics = lazy("xooai.metrics")  # for who asks what was counted
    results = lazy("xooai.results")  # few endpoints ask for it
    streaming = lazy("xooai.stream_handler")

__all__ = ["DESCRIBE", "OWN", "Away", "Hosted", "Lane", "Route", "Routes", "Warming"]

OWN = "/xooai/"
"""Where the endpoints are that every site has."""
DESCRIBE = "/xooai/describe"


class Hosted(Protocol):
    """What a site serves: an executor's name, endpoints and functions."""

    layers: tuple[Layer, ...]
    stores: Stores

    @property
    def name(self) -> str: ...

    def endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]: ...

    async def set_up(self) -> None: ...


@runtime_checkable
class Warming(Protocol):
    """What is hosted in this process, and may call others here, which have examples of their own."""

    def endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]: ...

    async def warm_nodes(self, done: set[object]) -> None:
        """Run those that are not among the ones that are `done`. Raises FailedPrecondition."""


@runtime_checkable
class Away(Protocol):
    """What is hosted and answers by a process of its own: that one waits, counts and limits, and here calls pass through."""

    @property
    def is_up(self) -> bool:
        """Whether it takes calls."""

    async def aclose(self) -> None:
        """Let go of the way to it."""


class Route(msgspec.Struct, frozen=True):
    executor: str
    endpoint: Endpoint
    service: Service
    """What answers its calls, behind its gate where it has one."""
    call: type[Call]
    gate: limit.Gate | None = None
    gated: Service | None = None
    """What stands behind the gate."""

    def over(self, driver: str) -> Lane:
        """That of the calls which come over a driver."""
        tally = calls(self.executor, self.endpoint.name, driver)
        return Lane(self.executor, self.endpoint, self.service, self.call, self.gate, self.gated, tally=tally)


class Lane(Route, frozen=True, kw_only=True):
    """A route as the calls take it that come over one driver."""

    tally: Calls
    """Where they are counted."""


class Routes:
    """By path: those of the executors, and of what every site has those that were asked for."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._results: results.Results | None = None
        self.contents = Contents()
        self.known: dict[str, Route] = {}

    def add(self, executor: Hosted, admission: limit.Admission | None) -> None:
        """Add those of an executor; with `admission`, calls wait for their turn. Raises InvalidArgument."""
        name = executor.name
        self.contents.have(executor.stores)
        endpoints = list(executor.endpoints())
        if not endpoints:
            raise InvalidArgument(f"the executor {name!r} has no endpoints; @post makes a method one")
        for endpoint, function in endpoints:
            service, call = self._answering(endpoint, function, name)
            service, path = composed(executor.layers, service), f"/{name}/{endpoint.name}"
            if admission is not None:
                service = admission.outer(service)
            if admission is None or isinstance(executor, Away):
                self.known[path] = Route(name, endpoint, service, call)
                continue
            gate = admission.gate(path, endpoint)
            self.known[path] = Route(name, endpoint, gate.around(service), call, gate, service)
            if endpoint.limit and not endpoint.is_async:
                self._threads.allow(endpoint.limit)

    def endpoints(self) -> dict[str, Endpoint]:
        """The endpoints by path, without those that every site has."""
        return {path: route.endpoint for path, route in self.known.items() if not path.startswith(OWN)}

    def shape(self, path: str) -> Shape | None:
        """That of the endpoint at a path, whether it was asked for or not; None where there is none."""
        route = self.known.get(path)
        if route is None:
            return Shape.UNARY if path in (DESCRIBE, METRICS) else SHAPES.get(path)
        return route.endpoint.shape

    def unknown(self, path: str) -> NotFound:
        """The error of a call to a path at which there is nothing."""
        known = [name.removeprefix("/") for name in self.endpoints()]
        given = path.removeprefix("/")
        listed = ", ".join(known) if len(known) <= 50 else f"{', '.join(known[:50])} and {len(known) - 50} more"
        return NotFound(f"no endpoint {given[:200]!r}{nearest(given, known)}; there are: {listed}")

    def own(self, path: str, tells: Mapping[str, Callable[[], Awaitable[dict[str, Any]]]]) -> Route | None:
        """The route to what every site has, made when it is first asked for; `tells` what it tells of itself, by path."""
        function: Callable[..., Any]
        if path == DESCRIBE:
            endpoint, function = describe.endpoint(), tells[path]
        elif path == METRICS:
            endpoint, function = metrics.endpoint(), tells[path]
        elif path in SHAPES:
            made, function = self.contents.answers(path)
            endpoint = made()
        else:
            return None
        route = self.known[path] = Route("xooai", endpoint, *self._answering(endpoint, function, "xooai"))
        return route

    def _answering(self, endpoint: Endpoint, function: Callable[..., Any], executor: str) -> tuple[Service, type[Call]]:
        """What answers the calls of an endpoint of an executor, and what these are."""
        if isinstance(function, Serving):
            return function.service(endpoint, self._threads, self.contents), StreamCall if endpoint.shape else Call
        if endpoint.shape:
            return streaming.stream_handler(endpoint, function, self._threads, self.contents), StreamCall
        if endpoint.batch is not None:
            tally = batches(executor, endpoint.name)
            made = batch.batched(endpoint, function, self._threads, self._handler, tally)
        else:
            made = self._handler(endpoint, function)
        return made, Call if endpoint.cache is None else results.CachedCall

    def _handler(self, endpoint: Endpoint, function: Callable[..., Any]) -> Service:
        """What answers the unary calls of an endpoint by a function."""
        if endpoint.cache is None:
            return handler(endpoint, function, self._threads, self.contents)
        if self._results is None:
            self._results = results.Results()
        return results.cached(endpoint, function, self._threads, self.contents, self._results)
