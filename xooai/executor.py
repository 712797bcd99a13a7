"""Executor: a named set of typed endpoints, that is server and client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar, overload

from xooai import sync
from xooai.call import Layer, asked_codec, checked_timeout, remaining
from xooai.codec import MSGPACK
from xooai.declare import Declared, check_hooks, checked_name, chosen, client_class, listed, snake_case, surroundings
from xooai.driver import EMPTY, DialOptions, ListenOptions, Shape
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition, InvalidArgument, NotFound
from xooai.hosting import DEFAULT_URL, GRACE, Background, announce, serve_until_signal
from xooai.lazy import lazy
from xooai.local import Local
from xooai.streams import Replies, Stream, blocking, opened, source_of

if TYPE_CHECKING:
    from xooai import client as remotes
    from xooai import remote_stream
else:
    remotes = lazy("xooai.client")
    remote_stream = lazy("xooai.remote_stream")

__all__ = ["Executor"]

P = ParamSpec("P")
R = TypeVar("R")


class Executor:
    """A named set of endpoints: the methods marked with `@post` or `@stream`.

    Made by its own constructor it answers calls itself: call its methods as plain Python, `post` in process through the whole
    call stack, or `serve` it. Made by `at(url)`, or from a URL, it sends them there. A subclass need not call
    `super().__init__`.
    """

    _xooai_declared: ClassVar[Declared]
    _xooai_stands_for: ClassVar[type[Executor] | None] = None
    _xooai_client: ClassVar[type[Executor] | None] = None

    _xooai_class_name: ClassVar[str] = "executor"

    _xooai_name: str | None = None
    _xooai_gateway: str | None = None
    _xooai_layers: tuple[Layer, ...] = ()
    _xooai_remote: remotes.Remote | None = None
    _xooai_own: Local | None = None
    _xooai_elsewhere: remotes.Elsewhere | None = None
    _xooai_background: Background | None = None

    def __init__(
        self,
        url: str | None = None,
        /,
        *,
        name: str | None = None,
        gateway: str | None = None,
        store: None = None,
        layers: Sequence[Layer] = (),
    ) -> None:
        if store is not None:
            raise InvalidArgument(
                f"store={type(store).__name__}: this version has no stores; content up to 64 MiB travels inline"
            )
        self._xooai_keep(
            _xooai_name=None if name is None else checked_name(name),
            _xooai_gateway=gateway,
            _xooai_layers=tuple(layers),
        )
        if url is not None:
            address = remotes.Address.of(url)
            if address.endpoint:
                raise InvalidArgument(
                    f"{url!r} names an endpoint; a client is made from scheme://host:port/name, and on= names the endpoint"
                )
            remote = remotes.Remote(address.server, layers=self._xooai_layers)
            self._xooai_keep(_xooai_name=address.executor or self._xooai_name, _xooai_remote=remote)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_xooai_stands_for" not in cls.__dict__:
            cls._xooai_class_name = checked_name(snake_case(cls.__name__))
            cls._xooai_client = None
            cls._xooai_declared = Declared(cls, _OWN_NAMES, surroundings(sys._getframe(1)))
            check_hooks(cls)

    def _xooai_keep(self, **attributes: Any) -> None:
        """Set attributes of the framework's own, also where the user's class refuses it, as frozen dataclasses do."""
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The name in the path of its endpoints."""
        return self._xooai_name or self._xooai_class_name

    # Calling

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
                self._xooai_keep(_xooai_elsewhere=remotes.Elsewhere(self._xooai_layers))
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
    ) -> AbstractAsyncContextManager[Stream]:
        """Open a call that streams: `async with e.open(on="chat") as s: await s.send(item); item = await s.receive()`.

        `arguments` are those but for the stream. Leaving the block before the call is over ends it on the other side.
        """
        return opened(self._xooai_stream(on, timeout, metadata, codec, {**arguments}, is_split=True))

    def astream(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> Replies:
        """Call an endpoint that streams: `async for item in e.astream(...)`; where its reply is one, `await e.astream(...)`.

        A stream of requests is given as an iterator, an async iterator or a list. Leaving the loop ends the call.
        """
        return Replies(partial(self._xooai_stream, on, timeout, metadata, codec, {**arguments}))

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
        return blocking(replies, sync.step, sync.leave) if endpoint.shape & Shape.SERVER else sync.run(replies.single())

    async def _xooai_found(
        self, on: str | None, timeout: float | None
    ) -> tuple[remotes.Remote | None, str, Endpoint, float | None]:
        """Where an endpoint is (None: here), its executor's name, the endpoint, and the seconds left for calling it."""
        if timeout is not None:
            timeout = checked_timeout(timeout)
        if isinstance(on, str) and "/" in on:
            if self._xooai_elsewhere is None:
                self._xooai_keep(_xooai_elsewhere=remotes.Elsewhere(self._xooai_layers))
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
    ) -> tuple[Stream, Any]:
        """An open call, and what it is to be sent: a part of what was given, unless that was split off before."""
        remote, executor, endpoint, limit = await self._xooai_found(on, timeout)
        if not endpoint.shape:
            raise InvalidArgument(f"{endpoint.name} takes one request and gives one reply: use post() or apost()")
        source = None if is_split else source_of(endpoint, given)
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
        return chosen(remotes.endpoints_of(remote.server, self.name, known), on, self.name)

    def _xooai_local(self) -> Local:
        if self._xooai_own is None:
            if self._xooai_remote is not None:
                raise FailedPrecondition(f"{self!r} is a client; it has nothing of its own to serve")
            has_setup = type(self).setup is not Executor.setup
            self._xooai_keep(_xooai_own=Local(self, self._xooai_declared, self._xooai_layers, has_setup))
            assert self._xooai_own is not None
        return self._xooai_own

    # A client of the same class

    @classmethod
    def at(
        cls,
        url: str,
        *,
        timeout: float | None = 60,
        codec: str | None = None,
        metadata: Mapping[str, str] = EMPTY,
        trust: str | None = None,
    ) -> Self:
        """A client of this class at `scheme://host:port[/name]`: same methods, same signatures, run over there.

        No constructor runs, nothing is loaded. `timeout` in seconds for each call, None for none; `trust` a PEM file of
        authorities to trust instead of the system's.
        """
        address = remotes.Address.of(url)
        if address.endpoint:
            raise InvalidArgument(
                f"{url!r} names an endpoint; a client is made from scheme://host:port or scheme://host:port/name"
            )
        if cls is Executor:
            client: Any = Executor()
        else:
            if cls._xooai_client is None:
                cls._xooai_client = client_class(cls, cls._xooai_declared, _send, Executor.__repr__)
            client = object.__new__(cls._xooai_client)
        remote = remotes.Remote(
            address.server,
            DialOptions(trust=trust),
            MSGPACK if codec is None else asked_codec(codec),
            timeout,
            metadata,
        )
        Executor._xooai_keep(client, _xooai_name=address.executor or None, _xooai_remote=remote)
        return client  # type: ignore[no-any-return]

    # Serving

    def serve(
        self,
        *urls: str,
        certificate: str | None = None,
        key: str | None = None,
        grace: float = GRACE,
        insecure: bool = False,
    ) -> None:
        """Serve at `urls` (http://127.0.0.1:8080 where none is given) until SIGINT or SIGTERM.

        Calls under way then get `grace` seconds. `certificate` and `key` are PEM files, for TLS. Beyond loopback it refuses
        unless `insecure`.
        """
        options = ListenOptions(certificate, key, insecure=insecure)
        serve_until_signal([self._xooai_local()], urls or (DEFAULT_URL,), options, grace, announce)

    def start(
        self,
        *urls: str,
        certificate: str | None = None,
        key: str | None = None,
        grace: float = GRACE,
        insecure: bool = False,
    ) -> list[str]:
        """As `serve`, in a thread of its own; return the bound URLs (port 0 is resolved). `stop` ends it."""
        if self._xooai_background is not None:
            raise FailedPrecondition(f"{self!r} serves already; stop() it first, or give all URLs to one start()")
        options = ListenOptions(certificate, key, insecure=insecure)
        background = Background([self._xooai_local()], urls or (DEFAULT_URL,), options, grace)
        bound = background.start()
        self._xooai_keep(_xooai_background=background)
        return bound

    def stop(self) -> None:
        """End what `start` began: calls under way finish first. Without a start, nothing."""
        background = self._xooai_background
        if background is not None:
            self._xooai_keep(_xooai_background=None)
            background.stop()

    async def setup(self) -> None:
        """Yours to define: runs once, before the first call."""

    def close(self) -> None:
        """Yours to define: runs when a `with` block is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._xooai_end()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for remote in self._xooai_remotes():
                await remote.aclose()
            await asyncio.to_thread(self._xooai_end)
        finally:
            self.close()

    def _xooai_end(self) -> None:
        """Let go of what the framework holds: server, threads, connections."""
        self.stop()
        if self._xooai_own is not None:
            self._xooai_own.close()
        for remote in self._xooai_remotes():
            sync.close_remote(remote)

    def _xooai_remotes(self) -> list[remotes.Remote]:
        own = [] if self._xooai_remote is None else [self._xooai_remote]
        return own if self._xooai_elsewhere is None else [*own, *self._xooai_elsewhere.remotes()]

    def __repr__(self) -> str:
        where = f" at {self._xooai_remote.server}" if self._xooai_remote is not None else ""
        return f"<{(self._xooai_stands_for or type(self)).__name__} {self.name!r}{where}>"


_OWN_NAMES = frozenset(name for name in vars(Executor) if not name.startswith("_"))
Executor._xooai_declared = Declared(Executor, _OWN_NAMES, {})


def _send(client: Executor, endpoint: Endpoint, arguments: dict[str, Any]) -> Any:
    """A typed method of a client: blocking for a `def` endpoint, awaited or iterated for an `async def` one."""
    if not endpoint.shape:
        return (
            client.apost(endpoint.name, **arguments) if endpoint.is_async else client.post(endpoint.name, **arguments)
        )
    if not endpoint.is_async:
        return client.stream(endpoint.name, **arguments)
    replies = client.astream(endpoint.name, **arguments)
    return replies if endpoint.shape & Shape.SERVER else replies.single()
