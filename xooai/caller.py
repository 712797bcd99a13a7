"""Calling the endpoints of an executor: in this process, at its server, or by a URL that names one elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar, overload

from xooai import sync
from xooai.call import Layer, checked_timeout, remaining
from xooai.declare import Declared, chosen, listed
from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, NotFound
from xooai.lazy import lazy
from xooai.local import Local
from xooai.shared_stores import NONE, Stores

if TYPE_CHECKING:
    from xooai import address as addresses
    from xooai import batch_stream, by_url, remote_stream, streams
    from xooai import client as remotes
else:
    addresses = lazy("xooai.address")
    by_url = lazy("xooai.by_url")
    batch_stream = lazy("xooai.batch_stream")
    remote_stream = lazy("xooai.remote_stream")
    streams = lazy("xooai.streams")

__all__ = ["Caller"]

P = ParamSpec("P")
R = TypeVar("R")


class Caller:
    """What every executor is called by; an `Executor` says what answers."""

    _xooai_declared: ClassVar[Declared]
    _xooai_stands_for: ClassVar[type[Caller] | None] = None

    _xooai_class_name: ClassVar[str] = "executor"

    _xooai_name: str | None = None
    _xooai_gateway: str | None = None
    _xooai_layers: tuple[Layer, ...] = ()
    _xooai_stores: Stores = NONE
    _xooai_remote: remotes.Remote | None = None
    _xooai_elsewhere: by_url.Elsewhere | None = None

    if TYPE_CHECKING:  # of `Executor`, as a typed promise: at run time nothing stands here

        def _xooai_local(self) -> Local:
            """The own side, which an executor has. Raises FailedPrecondition for a client."""

        def _xooai_known(self) -> Mapping[str, Endpoint] | None:
            """Its endpoints, where nobody has to be asked for them."""

    def _xooai_keep(self, **attributes: Any) -> None:
        """Set attributes of the framework's own, also where the user's class refuses it, as frozen dataclasses do."""
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The name in the path of its endpoints."""
        return self._xooai_name or self._xooai_class_name

    def post(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> Any:
        """Call an endpoint and wait for its reply. Raises XooaiError.

        `on` is an endpoint's name, or the URL of one elsewhere (`http://host/executor/endpoint`); it may be left out where
        there is only one. `timeout` in seconds. Works inside a running loop too, but for one that serves.
        """
        sync.refuse_on_serving_loop("post()", "apost(...)")
        if timeout is None and self._xooai_remote is None and not (isinstance(on, str) and "/" in on):
            endpoint = self._xooai_endpoint(on)
            if not endpoint.is_async:
                return self._xooai_local().post(endpoint, arguments, metadata, codec)
        return sync.run(self.apost(on, timeout=timeout, metadata=metadata, codec=codec, **arguments))

    async def apost(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> Any:
        """As `post`, for async code."""
        if timeout is not None:
            timeout = checked_timeout(timeout)
        if isinstance(on, str) and "/" in on:
            if self._xooai_elsewhere is None:
                self._xooai_keep(_xooai_elsewhere=by_url.Elsewhere(self._xooai_layers, self._xooai_stores))
            assert self._xooai_elsewhere is not None
            return await self._xooai_elsewhere.post(self._xooai_url(on), arguments, timeout, metadata, codec)
        remote = self._xooai_remote
        if remote is None:
            return await self._xooai_local().apost(
                self._xooai_endpoint(on), arguments, remaining(timeout), metadata, codec
            )
        limit = remaining(remote.timeout if timeout is None else timeout)
        if self._xooai_stands_for is not None:
            endpoint = self._xooai_endpoint(on)
        else:
            endpoint, limit = await remote.found(partial(self._xooai_look, on, remote), limit)
        return await remote.call(self.name, endpoint, arguments, limit, codec, metadata)

    def open(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> AbstractAsyncContextManager[streams.Stream]:
        """Open a call that streams: `async with e.open(on="chat") as s: await s.send(item); item = await s.receive()`.

        `arguments` are those but for the stream. Leaving the block before the call is over ends it on the other side.
        """
        return streams.opened(self._xooai_stream(on, timeout, metadata, codec, {**arguments}, is_split=True))

    def astream(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> streams.Replies:
        """Call an endpoint that streams: `async for item in e.astream(...)`; where its reply is one, `await e.astream(...)`.

        A stream of requests is given as an iterator, an async iterator or a list. Leaving the loop ends the call. So is what
        an endpoint of batches is given: each item is in a batch with those of all callers, and replies are in the order of items.
        """
        return streams.Replies(partial(self._xooai_stream, on, timeout, metadata, codec, {**arguments}))

    def stream(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> Any:
        """As `astream`, blocking: an iterator of the replies; where the endpoint gives one, that reply."""
        sync.refuse_on_serving_loop("stream()", "astream(...)")
        replies = self.astream(on, timeout=timeout, metadata=metadata, codec=codec, **arguments)
        if self._xooai_remote is None or self._xooai_stands_for is not None:
            endpoint = None if isinstance(on, str) and "/" in on else self._xooai_endpoint(on)
        else:
            endpoint = None
        if endpoint is None:
            _, _, endpoint, _ = sync.run(self._xooai_found(on, timeout))
        return (
            streams.blocking(replies, sync.step, sync.leave)
            if endpoint.gives_stream or endpoint.batch is not None
            else sync.run(replies.single())
        )

    async def _xooai_found(
        self, on: str | None, timeout: float | None
    ) -> tuple[remotes.Remote | None, str, Endpoint, float | None]:
        """Where an endpoint is (None: here), its executor's name, the endpoint, and the seconds left for calling it."""
        if timeout is not None:
            timeout = checked_timeout(timeout)
        if isinstance(on, str) and "/" in on:
            if self._xooai_elsewhere is None:
                self._xooai_keep(_xooai_elsewhere=by_url.Elsewhere(self._xooai_layers, self._xooai_stores))
            assert self._xooai_elsewhere is not None
            return await self._xooai_elsewhere.found(self._xooai_url(on), timeout)
        remote = self._xooai_remote
        if remote is None:
            return None, self.name, self._xooai_endpoint(on), remaining(timeout)
        limit = remaining(remote.timeout if timeout is None else timeout)
        if self._xooai_stands_for is not None:
            return remote, self.name, self._xooai_endpoint(on), limit
        endpoint, limit = await remote.found(partial(self._xooai_look, on, remote), limit)
        return remote, self.name, endpoint, limit

    async def _xooai_stream(
        self,
        on: str | None,
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        codec: str | None,
        given: dict[str, Any],
        is_split: bool = False,
    ) -> tuple[streams.Stream, Any]:
        """An open call, and what it is to be sent: a part of what was given, unless that was split off before."""
        remote, executor, endpoint, limit = await self._xooai_found(on, timeout)
        if endpoint.batch is not None and not is_split:
            own = {"metadata": metadata, "codec": codec}
            return batch_stream.BatchStream(self, on, endpoint, given, limit, own), None
        if not endpoint.shape:
            other = "" if endpoint.batch is None else "; stream() and astream() take many items"
            raise InvalidArgument(
                f"{endpoint.name} takes one request and gives one reply: use post() or apost(){other}"
            )
        source = None if is_split else streams.source_of(endpoint, given)
        if remote is None:
            return await self._xooai_local().open(endpoint, given, limit, metadata, codec), source
        return await remote_stream.open_stream(remote, executor, endpoint, given, limit, codec, metadata), source

    @overload
    async def call(
        self, endpoint: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(
        self,
        endpoint: Callable[Concatenate[Any, P], AsyncIterator[R] | Iterator[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncIterator[R]: ...
    @overload
    async def call(self, endpoint: Callable[Concatenate[Any, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, endpoint: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The typed async form of an endpoint: `await r.call(Reader.read, doc=...)`.

        Where the endpoint gives a stream: `async for item in await r.call(Reader.lines, doc=...)`.
        """
        found = self._xooai_declared.of(endpoint)
        if found is None:
            given = getattr(endpoint, "__qualname__", repr(endpoint))
            raise NotFound(f"{given} is not an endpoint of {self.name}; there are: {listed(self._xooai_endpoints())}")
        arguments = found.bind(args, kwargs)
        if not found.shape:
            return await self.apost(found.name, **arguments)
        replies = self.astream(found.name, **arguments)
        return replies if found.shape & Shape.SERVER else await replies.single()

    def _xooai_url(self, on: str) -> str:
        if "://" in on:
            return on
        if self._xooai_gateway is None:
            raise InvalidArgument(
                f"on={on!r} names no host, and this executor has no gateway=; write a URL or pass gateway="
            )
        return f"{self._xooai_gateway.rstrip('/')}/{on.lstrip('/')}"

    def _xooai_endpoints(self) -> Mapping[str, Endpoint]:
        return self._xooai_declared.endpoints

    def _xooai_endpoint(self, on: str | None) -> Endpoint:
        endpoints = self._xooai_declared.endpoints
        return (endpoints.get(on) if isinstance(on, str) else None) or chosen(endpoints, on, self.name)

    def _xooai_look(
        self, on: str | None, remote: remotes.Remote, known: Mapping[str, Mapping[str, Endpoint]]
    ) -> Endpoint:
        """An endpoint of a client without a class, of those that its server describes."""
        if self._xooai_name is None:
            if len(known) != 1:
                raise InvalidArgument(
                    f"{remote.server} has several executors ({listed(known)}); write the name into the URL"
                )
            self._xooai_keep(_xooai_name=next(iter(known)))
        return chosen(addresses.endpoints_of(remote.server, self.name, known), on, self.name)

    def _xooai_remotes(self) -> list[remotes.Remote]:
        own = [] if self._xooai_remote is None else [self._xooai_remote]
        return own if self._xooai_elsewhere is None else [*own, *self._xooai_elsewhere.remotes()]
