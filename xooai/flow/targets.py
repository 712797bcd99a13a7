"""What the nodes of a Flow call: classes, instances, other Flows, URLs and plain functions, all alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from xooai.call import Layer, remaining
from xooai.declare import chosen
from xooai.endpoint import Endpoint
from xooai.errors import FlowError, InvalidArgument, NotFound
from xooai.flow.unread import Packed, accepted, answered
from xooai.lazy import lazy
from xooai.log import logger
from xooai.origin import Origin
from xooai.payload import settled
from xooai.served import Served

if TYPE_CHECKING:
    from xooai import address as addresses
    from xooai import client as remotes
    from xooai import remote_stream
    from xooai.flow import flow as flows
    from xooai.flow.trace import Watch
    from xooai.streams import Stream
else:
    addresses = lazy("xooai.address")
    remotes = lazy("xooai.client")
    remote_stream = lazy("xooai.remote_stream")
    flows = lazy("xooai.flow.flow")

_log = logger("xooai")

__all__ = [
    "Arguments",
    "Elsewhere",
    "Inner",
    "Own",
    "Target",
    "There",
    "held",
    "known_of",
    "opened",
    "runs_here",
    "sent",
]


Arguments = dict[str, Any] | Packed


class Target(Protocol):
    """Where the calls of one node go."""

    @property
    def path(self) -> str:
        """`executor/endpoint`, as far as is known: the id of a node that was given none."""

    @property
    def host(self) -> str:
        """The server, "" where it is this process."""

    @property
    def layers(self) -> Sequence[Layer]:
        """What stands around its calls in this process."""

    @property
    def known(self) -> Endpoint | None:
        """The endpoint, where nobody has to be asked for it. Raises FlowError."""

    async def endpoint(self, timeout: float | None) -> Endpoint:
        """The endpoint; asked for where it is remote. Raises XooaiError."""

    async def set_up(self) -> None:
        """Make what has to be there before the first call."""

    async def call(
        self,
        endpoint: Endpoint,
        arguments: Arguments,
        timeout: float | None,
        watch: Watch | None = None,
        wanted: str = "",
    ) -> Any:
        """Call the endpoint; documents that are made of plain data on the way are a stranger's. Raises XooaiError.

        `watch` is told of it. Only a target elsewhere is given what is packed, and gives what is unread: unless it is watched,
        and of the media type that is `wanted`, where it can be.
        """

    def open(
        self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None
    ) -> AbstractAsyncContextManager[Stream]:
        """An open call to the endpoint, which streams; `arguments` are those but for the stream. Who opened it closes it.

        Raises XooaiError.
        """

    def forget(self) -> None:
        """Ask a server anew, the next time, what it takes and gives."""

    def close(self) -> None:
        """Let go of what was made for the Flow alone."""


@runtime_checkable
class Warmed(Protocol):
    """A target in this process, which may have examples to run."""

    async def warm(self, done: set[object]) -> None:
        """Run those that are not among the ones that are `done`. Raises FailedPrecondition."""


class Elsewhere(ABC):
    """Of a target at a server: what is packed may be sent there, and what it answers is unread."""

    @property
    def layers(self) -> Sequence[Layer]:
        """None in this process."""
        return ()

    @abstractmethod
    def origin(self) -> Origin | None:
        """Whom its replies come from, as far as it is one server: what that keeps itself it can read."""

    starts = False
    """Whether there are calls that need no waiting to be sent, by what `there` gives."""

    def there(self) -> tuple[remotes.Remote, str] | None:
        """The one server of all calls, and the executor's name there; None where that is to be found out first."""
        return None


class _Given:
    """An executor, a client or a Flow that was given; it stays its owner's."""

    host = ""

    def __init__(self, executor: Served, on: str | None) -> None:
        self.executor, self._on = executor, on

    @property
    def path(self) -> str:
        known = self.known
        name = self._on if known is None else known.name
        return "/".join(filter(None, [self.executor.name, name]))

    @property
    def known(self) -> Endpoint | None:
        return known_of(self.executor._xooai_known(), self._on, self.executor.name)

    @property
    def layers(self) -> Sequence[Layer]:
        return self.executor._xooai_layers

    def forget(self) -> None:
        for remote in self.executor._xooai_remotes():
            remote.forget()

    def close(self) -> None:
        """Nothing: who gave it closes it."""


class Own(_Given):
    """An executor of this process."""

    async def endpoint(self, timeout: float | None) -> Endpoint:
        return self.executor._xooai_endpoint(self._on)

    async def set_up(self) -> None:
        await self.executor._xooai_local().set_up()

    async def warm(self, done: set[object]) -> None:
        await self.executor._xooai_local().warm(await self.endpoint(None), done)

    def call(
        self,
        endpoint: Endpoint,
        arguments: Arguments,
        timeout: float | None,
        watch: Watch | None = None,
        wanted: str = "",
    ) -> Coroutine[Any, Any, Any]:
        return self.executor._xooai_local().pass_on(endpoint, _read(arguments), remaining(timeout), watch)

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> AsyncIterator[Stream]:
        yield await self.executor._xooai_local().open_on(endpoint, arguments, remaining(timeout))


class Client(_Given, Elsewhere):
    """A client: an executor at its server."""

    _there: tuple[remotes.Remote, str] | None = None

    @property
    def host(self) -> str:  # type: ignore[override]
        remote = self.executor._xooai_remote
        assert remote is not None
        return remote.server

    async def endpoint(self, timeout: float | None) -> Endpoint:
        endpoint, _ = await self._found(timeout)
        return endpoint

    async def set_up(self) -> None:
        """Nothing: the server is there, or will be."""

    async def call(
        self,
        endpoint: Endpoint,
        arguments: Arguments,
        timeout: float | None,
        watch: Watch | None = None,
        wanted: str = "",
    ) -> Any:
        if self._there is None:
            _, timeout = await self._found(timeout)
        assert self._there is not None
        return await sent(*self._there, endpoint, arguments, timeout, watch, wanted)

    starts = True

    def there(self) -> tuple[remotes.Remote, str] | None:
        return self._there

    def origin(self) -> Origin | None:
        remote = self.executor._xooai_remote
        return None if remote is None else remote.origin

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> AsyncIterator[Stream]:
        if self._there is None:
            _, timeout = await self._found(timeout)
        assert self._there is not None
        yield await opened(*self._there, endpoint, arguments, timeout)

    async def _found(self, timeout: float | None) -> tuple[Endpoint, float | None]:
        remote, executor, endpoint, left = await self.executor._xooai_found(self._on, timeout)
        assert remote is not None
        self._there = remote, executor
        return endpoint, left


class Inner(_Given):
    """Another Flow, of this process."""

    def __init__(self, flow: flows.Flow, on: str | None) -> None:
        super().__init__(flow, on)
        self.flow = flow

    async def endpoint(self, timeout: float | None) -> Endpoint:
        _, _, endpoint, _ = await self.flow._xooai_found(self._on, timeout)
        return endpoint

    async def set_up(self) -> None:
        await self.flow._set_up()

    async def warm(self, done: set[object]) -> None:
        await self.flow._warm(done)

    def call(
        self,
        endpoint: Endpoint,
        arguments: Arguments,
        timeout: float | None,
        watch: Watch | None = None,
        wanted: str = "",
    ) -> Coroutine[Any, Any, Any]:
        return self.flow._pass_on(_read(arguments), timeout, watch)

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> AsyncIterator[Stream]:
        yield await self.flow._open_on(arguments, timeout)

    def forget(self) -> None:
        self.flow._forget()


def held(executor: Served, on: str | None) -> Target:
    """The target of what was given."""
    if isinstance(executor, flows.Flow):
        return Inner(executor, on)
    return Own(executor, on) if executor._xooai_remote is None else Client(executor, on)


class There(Elsewhere):
    """An endpoint by its URL. Nothing is asked before the first call, or `check`."""

    known = None
    _known_there: tuple[remotes.Remote, str] | None = None

    def __init__(self, url: str, server: Callable[[str], remotes.Remote]) -> None:
        self._address = addresses.Address.of(url)
        self._server = server
        self._executor = self._address.executor if self._address.endpoint else ""
        if not self._address.executor:
            raise FlowError(f"{url!r} names no endpoint; it is written {self._address.server}/executor/endpoint")
        self.host = self._address.server
        self.path = "/".join(filter(None, [self._address.executor, self._address.endpoint]))

    async def endpoint(self, timeout: float | None) -> Endpoint:
        endpoint, _ = await self._found(timeout)
        return endpoint

    async def set_up(self) -> None:
        """Nothing: the server is there, or will be."""

    async def call(
        self,
        endpoint: Endpoint,
        arguments: Arguments,
        timeout: float | None,
        watch: Watch | None = None,
        wanted: str = "",
    ) -> Any:
        if not self._executor:
            _, timeout = await self._found(timeout)
        return await sent(self._server(self.host), self._executor, endpoint, arguments, timeout, watch, wanted)

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> AsyncIterator[Stream]:
        if not self._executor:
            _, timeout = await self._found(timeout)
        yield await opened(self._server(self.host), self._executor, endpoint, arguments, timeout)

    def forget(self) -> None:
        self._server(self.host).forget()

    def close(self) -> None:
        """Nothing: the Flow closes its connections."""

    starts = True

    def there(self) -> tuple[remotes.Remote, str] | None:
        if self._known_there is None and self._executor:
            self._known_there = self._server(self.host), self._executor
        return self._known_there

    def origin(self) -> Origin | None:
        return self._server(self.host).origin

    async def _found(self, timeout: float | None) -> tuple[Endpoint, float | None]:
        remote = self._server(self.host)
        limit = remaining(remote.timeout if timeout is None else timeout)
        (self._executor, endpoint), limit = await remote.found(partial(addresses.resolved, self._address), limit)
        self._known_there = remote, self._executor
        return endpoint, limit


def runs_here(endpoint: Endpoint, target: Target) -> bool:
    """Whether a call of an endpoint, which is set up, needs no loop: a `def` of this process, and nothing around it waits."""
    if endpoint.is_async or endpoint.batch is not None or endpoint.cache is not None or isinstance(target, Inner):
        return False
    return not target.host and not target.layers


async def sent(
    remote: remotes.Remote,
    executor: str,
    endpoint: Endpoint,
    arguments: Arguments,
    timeout: float | None,
    watch: Watch | None,
    wanted: str,
) -> Any:
    """Call an endpoint of a server, for a node."""
    limit = remaining(remote.timeout if timeout is None else timeout)
    if type(arguments) is Packed:
        frame, codec = arguments.frame, arguments.codec
    else:
        given = settled(endpoint.arguments, _read(arguments))
        if watch is not None:
            return await remote.call(executor, endpoint, given, limit, None, watch)
        codec = remote.codec
        frame, limit = await remote.written(endpoint, given, limit)
    accept = wanted or accepted(endpoint, codec)
    reply, media_type = await remote.forward(executor, endpoint, frame, codec, limit, accept)
    return answered(reply, media_type, endpoint.result, remote.origin, (remote.server, executor, endpoint.name))


def _read(arguments: Arguments) -> dict[str, Any]:
    assert isinstance(arguments, dict)  # nobody packs them for a target of this process, or one that is watched
    return arguments


async def opened(
    remote: remotes.Remote, executor: str, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None
) -> Stream:
    limit = remaining(remote.timeout if timeout is None else timeout)
    given = settled(endpoint.arguments, arguments)
    return await remote_stream.open_stream(remote, executor, endpoint, given, limit, None, None)


def known_of(endpoints: Mapping[str, Endpoint] | None, on: str | None, owner: str) -> Endpoint | None:
    """The endpoint that `on` names. Raises FlowError for one that there is not, or that streams."""
    if endpoints is None:
        return None
    try:
        found = chosen(endpoints, on, owner)
    except (InvalidArgument, NotFound) as error:
        raise FlowError(error.message) from None
    return found
