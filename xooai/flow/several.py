"""One endpoint at several servers: a call goes to the one with less to do of two, and none to those that do not work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from xooai.call import remaining
from xooai.deadline import passed
from xooai.endpoint import Endpoint
from xooai.errors import (
    DeadlineExceeded,
    FlowError,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    XooaiError,
    error_from,
)
from xooai.flow.agreeing import signature, types
from xooai.flow.returning import Returning
from xooai.flow.servers import MOST, Server, Servers
from xooai.flow.targets import Arguments, Elsewhere, opened, sent
from xooai.layers.retry import is_turned_away
from xooai.lazy import lazy

if TYPE_CHECKING:
    from xooai import address as addresses
    from xooai import client as remotes
    from xooai.flow.trace import Watch
    from xooai.streams import Stream
else:
    addresses = lazy("xooai.address")
    remotes = lazy("xooai.client")

__all__ = ["ASK", "ATTEMPTS", "LIMIT", "Several"]

LIMIT = 64  # servers of one node: all of them are asked at once
ATTEMPTS = 4  # servers that one call goes to, where those before were sure not to have begun with it
ASK = 2.0  # seconds for a server to say whether it is back: it has only to describe itself
LATE = 1.0  # seconds that are waited for the others, once one has said what it takes
STOPPING = "it is about to stop"
DIFFERS = "it takes or gives other types than the Flow was planned with; check() asks anew"
TIMEOUT = 60.0  # seconds for a call, as everywhere where none are given


class _Place:
    """The endpoint at one of the servers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address = addresses.Address.of(url)
        if not self.address.executor:
            raise FlowError(f"{url!r} names no endpoint; it is written {self.address.server}/executor/endpoint")
        self.executor = ""
        """Its executor's name, once the server was asked."""

    @property
    def name(self) -> str:
        return self.address.endpoint or self.address.executor


class Several(Elsewhere):
    """An endpoint by the URLs of all servers that have it. Nothing is asked before the first call, or `check`."""

    known = None

    def __init__(self, urls: Sequence[str], server: Callable[[str], remotes.Remote]) -> None:
        places = [_Place(url) for url in urls]
        _refuse_mixed(places)
        self.urls = tuple(urls)
        self._server = server
        self._servers = Servers([place.address.server for place in places])
        self._places = dict(zip(self._servers.all, places, strict=True))
        self._endpoint: Endpoint | None = None
        self._agreed: Any = None
        """What all of them take and give, as the Flow was planned with it."""
        self._returning = Returning(self._servers, self._why_out)
        self.host = ", ".join(server.name for server in self._servers.all)
        first = places[0].address
        self.path = "/".join(filter(None, [first.executor, first.endpoint]))

    # What they take

    async def endpoint(self, timeout: float | None) -> Endpoint:
        """What all take and give that answer; the others are asked again before they are called. Raises FlowError where they
        differ, and where none answers as the first one failed.
        """
        if self._endpoint is not None:
            return self._endpoint
        found, failures = await self._all_asked(timeout)
        if not found:
            first = next(iter(failures.values()))
            told = error_from(first.code, _listed("none of the servers says what it takes", failures), first.details)
            told.remote = first.remote
            raise told from first
        leader, endpoint = next(iter(found.items()))
        agreed = types(endpoint)
        for server, error in failures.items():
            if isinstance(error, NotFound | Unimplemented):
                raise FlowError(f"{leader.name} has {self.path}, and {server.name} has not: {error.message}")
        for server, other in found.items():
            if types(other) != agreed:
                raise FlowError(
                    f"{self.path} is {signature(endpoint)} at {leader.name}, and {signature(other)} at {server.name}; "
                    "the servers of a node have to take and give the same"
                )
        self._agreed, self._endpoint = agreed, endpoint
        for server in found:
            self._servers.back(server)
        for server, error in failures.items():
            self._servers.out(server, server.times_out, error.message)
        return endpoint

    async def _all_asked(self, timeout: float | None) -> tuple[dict[Server, Endpoint], dict[Server, XooaiError]]:
        """What they say, and the errors of the others, in their order. Who is later than the first by more than LATE is away."""
        tasks = {server: asyncio.create_task(self._asked(server, timeout)) for server in self._servers.all}
        waiting, end = set(tasks.values()), None
        try:
            while waiting:
                left = None if end is None else max(0.0, end - monotonic())
                done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                if end is None and any(task.exception() is None for task in done):
                    end = monotonic() + LATE
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        found, failures = {}, {}
        for server, task in tasks.items():
            error = _error_of(task)
            if error is None:
                found[server] = task.result()
            elif isinstance(error, XooaiError):
                failures[server] = error
            else:
                raise error
        return found, failures

    async def _asked(self, server: Server, timeout: float | None) -> Endpoint:
        place, remote = self._places[server], self._server(server.name)
        if server.is_out:  # what it said before counts no more
            remote.forget()
        limit = remaining(remote.timeout if timeout is None else timeout)
        (place.executor, endpoint), _ = await remote.found(partial(addresses.resolved, place.address), limit)
        return endpoint

    def forget(self) -> None:
        self._endpoint = None
        for server in self._servers.all:
            self._server(server.name).forget()

    def warnings(self) -> list[str]:
        """Which servers get no calls now."""
        return [f"{server} gets no calls until it answers" for server in self._servers.all if server.is_out]

    # Calling

    def origin(self) -> None:
        """Any of the servers may be called."""

    async def set_up(self) -> None:
        """Nothing: the servers are there, or will be."""

    async def call(
        self,
        endpoint: Endpoint,
        arguments: Arguments,
        timeout: float | None,
        watch: Watch | None = None,
        wanted: str = "",
    ) -> Any:
        """Call the endpoint at one of the servers; at another one where that is sure not to have begun with it."""
        servers = self._servers
        if servers.has_out:
            self._returning.start_due()
        began, left = monotonic(), timeout
        tried: dict[Server, XooaiError] = {}
        while True:
            server = servers.take(tried) or await self._taken_back(tried, _left(began, timeout))
            remote, executor, times = self._server(server.name), self._places[server].executor, server.times_out
            if watch is not None:
                watch.host = server.name
            try:
                reply = await sent(remote, executor, endpoint, arguments, left, watch, wanted)
            except (Unavailable, ResourceExhausted, DeadlineExceeded) as error:
                self._learn(server, times, error)
                error._server = error._server or server.name
                tried[server] = error
                left = _left(began, timeout)
                if not self._goes_on(error, tried) or left <= 0:
                    raise
            except asyncio.CancelledError:
                if _left(began, timeout) <= 0:  # who waits for it has the same deadline
                    self._suspect(server, times, "it did not answer in time")
                raise
            else:
                servers.went_well()
                if remote.is_leaving:
                    servers.out(server, times, STOPPING)
                return reply
            finally:
                servers.give_back(server)

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None) -> AsyncIterator[Stream]:
        """An open call to the endpoint at one of the servers; at another one only where it could not be opened."""
        if self._servers.has_out:
            self._returning.start_due()
        began, left = monotonic(), timeout
        tried: dict[Server, XooaiError] = {}
        while True:
            server = self._servers.take(tried) or await self._taken_back(tried, _left(began, timeout))
            remote, executor, times = self._server(server.name), self._places[server].executor, server.times_out
            stream: Stream | None = None
            try:
                stream = await opened(remote, executor, endpoint, arguments, left)
                yield stream
                return
            except (Unavailable, ResourceExhausted, DeadlineExceeded) as error:
                if stream is None or stream._ended_by is error:  # and not that of who reads it
                    error._server = server.name
                self._learn(server, times, error)
                tried[server] = error
                left = _left(began, timeout)
                if stream is not None or not self._goes_on(error, tried) or left <= 0:
                    raise
            finally:
                self._servers.give_back(server)

    def _goes_on(self, error: XooaiError, tried: Mapping[Server, XooaiError]) -> bool:
        """Whether a call may be made at another server. What has cost nobody anything is not counted."""
        may = error.never_ran or (is_turned_away(error) and self._servers.may_repeat())
        return may and len(tried) < ATTEMPTS

    def _learn(self, server: Server, times: int, error: XooaiError) -> None:
        """Have a server get no calls for some time that does not work, as far as an error says that."""
        if error._server != server.name:
            return
        if is_turned_away(error):
            wanted = error.details["retry_after"]
            self._servers.out(server, times, error.message, wanted if 0 <= wanted <= MOST else MOST)
        elif isinstance(error, Unavailable) and not error.remote:
            self._servers.out(server, times, error.message)
        elif isinstance(error, Unavailable) or (isinstance(error, DeadlineExceeded) and not error.remote):
            self._suspect(server, times, error.message)  # it may be only slow, or miss what it needs itself

    def _suspect(self, server: Server, times: int, why: str) -> None:
        """Ask a server at once whether it works, and give it no calls until then."""
        if self._servers.out(server, times, why, 0):
            self._returning.start(server)

    async def _taken_back(self, tried: Mapping[Server, XooaiError], timeout: float) -> Server:
        """The first server that is back, of those that are out and were not tried: all are asked at once, by the first call that
        finds no other one. Raises Unavailable that names all servers, and DeadlineExceeded.
        """
        end = monotonic() + timeout
        out = [server for server in self._servers.all if server.is_out and server not in tried]
        waiting = {asyncio.wrap_future(self._returning.start(server)) for server in out}
        while waiting:
            left = max(0.0, end - monotonic())
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            server = self._servers.take(tried)
            if server is not None:
                return server
            if not done:
                told = passed(timeout).message
                late = DeadlineExceeded(f"{told}; {self._none(tried)}")
                late._to_peers = told, {}
                raise late
        server = self._servers.take(tried)
        if server is not None:  # one that was asked by others was back before it was looked at
            return server
        turned_away = [error for error in tried.values() if isinstance(error, ResourceExhausted)]
        if turned_away:
            raise turned_away[-1]
        none = Unavailable(self._none(tried))
        none.never_ran = True
        raise none

    def _none(self, tried: Mapping[Server, XooaiError]) -> str:
        whys = {server: tried[server].message if server in tried else server.why for server in self._servers.all}
        return f"none of the {len(whys)} servers works: " + "; ".join(
            f"{one.name} ({why})" for one, why in whys.items()
        )

    async def _why_out(self, server: Server) -> str:
        """What keeps a server that is out from being used: it is back where it answers, and takes and gives what it is to."""
        found = await self._asked(server, ASK)
        if self._server(server.name).is_leaving:
            return STOPPING
        return "" if types(found) == self._agreed else DIFFERS

    def close(self) -> None:
        """Ask nobody any more, until another call."""
        self._returning.close()


def _left(began: float, timeout: float | None) -> float:
    """Seconds left of a call that began then."""
    left = remaining((TIMEOUT if timeout is None else timeout) - (monotonic() - began))
    assert left is not None
    return left


def _refuse_mixed(places: Sequence[_Place]) -> None:
    """Raise FlowError for what cannot be servers of one endpoint."""
    if len(places) > LIMIT:
        raise FlowError(f"use= has {len(places)} URLs; a node takes {LIMIT} at most")
    seen: set[str] = set()
    for place in places:
        if place.name != places[0].name:
            raise FlowError(
                f"use= has URLs of different endpoints, {places[0].name!r} and {place.name!r}: "
                "a list is for the servers of one endpoint; give each endpoint a node of its own"
            )
        if place.address.server in seen:
            raise FlowError(f"use= names {place.address.server} twice")
        seen.add(place.address.server)


def _listed(text: str, failures: Mapping[Server, XooaiError]) -> str:
    return f"{text}: " + "; ".join(f"{server.name} ({error.message})" for server, error in failures.items())


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    if task.cancelled():
        return DeadlineExceeded(f"it did not answer within {LATE:g} s of the first one")
    return task.exception()
