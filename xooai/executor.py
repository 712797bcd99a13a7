"""Executor: a named set of typed endpoints, that is server and client."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar

from xooai import sync
from xooai.call import Layer, Service, remaining
from xooai.client import Address, Remote
from xooai.codec import MSGPACK, Codec, codec_of
from xooai.driver import EMPTY, DialOptions, Head, ListenOptions
from xooai.endpoint import Endpoint, mark_of, nearest
from xooai.errors import FailedPrecondition, InvalidArgument, NotFound
from xooai.hosting import DEFAULT_URL, GRACE, Background, serve_until_signal
from xooai.memory import MemoryChannel
from xooai.payload import from_here, marks_of
from xooai.server import Site

__all__ = ["Executor", "serve"]

P = ParamSpec("P")
R = TypeVar("R")
_NAMES = frozenset({"livez", "readyz", "docs", "metrics", "status", "xooai"})
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}", re.IGNORECASE)


def snake_case(name: str) -> str:
    """`MyExecutor` → `my_executor`, `OCRReader` → `ocr_reader`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _checked_name(name: str) -> str:
    if name in _NAMES:
        raise ValueError(f"an executor cannot be called {name!r}: that path is the server's own; pass another name=")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name for an executor; it takes letters, digits and _.- (at most 128)")
    return name


class Executor:
    """A named set of endpoints: the methods marked with `@post`.

    Made by its own constructor it answers calls itself: call its methods as plain Python, `post` in process through the whole
    call stack, or `serve` it. Made by `at(url)`, or from a URL, it sends them there. A subclass need not call
    `super().__init__`. `async setup()` runs before the first call, `close()` when the executor is left; both are yours to
    define.
    """

    _endpoints: ClassVar[Mapping[str, Endpoint]] = {}
    _attributes: ClassVar[Mapping[str, str]] = {}
    _pending: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    _name: str | None = None
    _gateway: str | None = None
    _layers: tuple[Layer, ...] = ()
    _remote: Remote | None = None
    _site: Site | None = None
    _background: Background | None = None
    _is_set_up: bool = False
    _setting_up: threading.Lock | None = None

    def __init__(self, url: str | None = None, /, *, name: str | None = None, gateway: str | None = None, store: None = None, layers: Sequence[Layer] = ()) -> None:
        if store is not None:
            raise InvalidArgument(f"store={type(store).__name__}: stores are not part of this version; content up to 64 MiB travels inline")
        if name is not None:
            self._name = _checked_name(name)
        self._gateway = gateway
        self._layers = tuple(layers)
        if url is not None:
            address = Address.of(url)
            self._name = address.executor or self._name
            self._remote = Remote(address.server, layers=self._layers)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_is_client" in cls.__dict__:
            return
        if snake_case(cls.__name__) in _NAMES:
            _checked_name(snake_case(cls.__name__))
        namespace = sys._getframe(1).f_locals
        _collect(cls, namespace)

    # Calling

    @property
    def name(self) -> str:
        """The name in the path of its endpoints."""
        return self._name or snake_case(getattr(type(self), "_is_client", type(self)).__name__)

    def post(self, /, on: str | None = None, *, timeout: float | None = None, metadata: Mapping[str, str] | None = None, codec: str | None = None, **arguments: Any) -> Any:
        """Call an endpoint and wait for its reply. Raises XooaiError.

        `on` is an endpoint's name, or the URL of one elsewhere (`http://host/executor/endpoint`); it may be left out where
        there is only one. `timeout` in seconds. Works inside a running loop too, but for one that serves.
        """
        sync.refuse_on_serving_loop("post()", "apost(...)")
        if self._remote is None and on is not None and "/" not in on and timeout is None:
            endpoint = self._endpoint(on)
            if not endpoint.is_async and self._is_ready():
                return self._post_here(endpoint, arguments, metadata, codec)
        return sync.run(self.apost(on, timeout=timeout, metadata=metadata, codec=codec, **arguments))

    async def apost(self, /, on: str | None = None, *, timeout: float | None = None, metadata: Mapping[str, str] | None = None, codec: str | None = None, **arguments: Any) -> Any:
        """As `post`, for async code."""
        if on is not None and "/" in on:
            return await self._post_elsewhere(on, arguments, timeout, metadata, codec)
        remote = self._remote
        if remote is not None:
            limit = remaining(remote.timeout if timeout is None else timeout)
            endpoint = self._endpoint(on) if self._endpoints else await self._described(remote, on, limit)
            return await remote.call(self.name, endpoint, arguments, limit, codec, metadata)
        endpoint = self._endpoint(on)
        if not self._is_ready():
            await self.hosted_setup()
        channel, chosen = self._opened(endpoint, arguments, remaining(timeout), metadata, codec, inline=False)
        await self._local_site().accept(channel)
        return from_here(endpoint.result, chosen, channel.result(), channel.reply_marks or ())

    async def call(self, endpoint: Callable[Concatenate[Any, P], Awaitable[R]] | Callable[Concatenate[Any, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The typed async form of an endpoint: `await r.call(Reader.read, doc=...)`."""
        found = next((name for name, attribute in self._attributes.items() if attribute == getattr(endpoint, "__name__", "")), None)
        if found is None:
            raise NotFound(f"{getattr(endpoint, '__qualname__', endpoint)!r} is not an endpoint of {type(self).__name__}; there are: {', '.join(self._endpoints)}")
        arguments = self._endpoint(found).bind(args, kwargs)
        return await self.apost(found, **arguments)  # type: ignore[no-any-return]

    def _post_here(self, endpoint: Endpoint, arguments: dict[str, Any], metadata: Mapping[str, str] | None, codec: str | None) -> Any:
        """A `def` handler, driven in this very thread: no loop, no task."""
        channel, chosen = self._opened(endpoint, arguments, remaining(None), metadata, codec, inline=True)
        if channel.head.timeout is not None:
            return sync.run(self._accept_and_read(channel, endpoint, chosen))
        sync.drive(self._local_site().accept(channel))
        return from_here(endpoint.result, chosen, channel.result(), channel.reply_marks or ())

    async def _accept_and_read(self, channel: MemoryChannel, endpoint: Endpoint, codec: Any) -> Any:
        channel.inline = False
        await self._local_site().accept(channel)
        return from_here(endpoint.result, codec, channel.result(), channel.reply_marks or ())

    def _opened(self, endpoint: Endpoint, arguments: dict[str, Any], timeout: float | None, metadata: Mapping[str, str] | None, codec: str | None, *, inline: bool) -> tuple[MemoryChannel, Any]:
        endpoint.check(arguments)
        chosen = MSGPACK if codec is None else codec_of(codec)
        schema = endpoint.arguments
        frame = chosen.encode(schema, arguments)
        channel = MemoryChannel(self._head(endpoint, chosen, timeout, metadata), frame)
        if schema.facts.documents:
            channel.marks = marks_of(schema, arguments)
        channel.inline = inline
        return channel, chosen

    def _head(self, endpoint: Endpoint, codec: Codec, timeout: float | None, metadata: Mapping[str, str] | None) -> Head:
        """The head of a call within the process: the same one again where it says nothing of its own."""
        if timeout is not None or metadata:
            return Head(f"/{self.name}/{endpoint.name}", codec.media_type, timeout=timeout, metadata=metadata or EMPTY)
        heads: dict[tuple[str, str], Head] = self.__dict__.setdefault("_heads", {})
        found = heads.get((endpoint.name, codec.name))
        if found is None:
            found = heads[endpoint.name, codec.name] = Head(f"/{self.name}/{endpoint.name}", codec.media_type)
        return found

    async def _post_elsewhere(self, on: str, arguments: dict[str, Any], timeout: float | None, metadata: Mapping[str, str] | None, codec: str | None) -> Any:
        url = on
        if "://" not in on:
            if self._gateway is None:
                raise InvalidArgument(f"on={on!r} names no host, and this executor has no gateway=; write a URL or pass gateway=")
            url = f"{self._gateway.rstrip('/')}/{on.lstrip('/')}"
        address = Address.of(url)
        remotes = self.__dict__.setdefault("_elsewhere", {})
        if len(remotes) > _SERVERS_LIMIT:
            remotes.pop(next(iter(remotes)))
        remote = remotes.get(address.server)
        if remote is None:
            remote = remotes[address.server] = Remote(address.server, layers=self._layers)
        limit = remaining(remote.timeout if timeout is None else timeout)
        known = await remote.executors(limit)
        executor, name = _resolved(address, known)
        endpoints = await remote.endpoints(executor, limit)
        if name not in endpoints:
            raise NotFound(f"{address.server} has no endpoint '{executor}/{name}'{nearest(name, endpoints)}; there are: {', '.join(endpoints)}")
        return await remote.call(executor, endpoints[name], arguments, limit, codec, metadata)

    def _endpoint(self, on: str | None) -> Endpoint:
        endpoints = self._compiled()
        if on is None:
            if len(endpoints) == 1:
                return next(iter(endpoints.values()))
            raise InvalidArgument(f"{self.name} has {len(endpoints)} endpoints; say which: on= one of {', '.join(endpoints) or 'none'}")
        found = endpoints.get(on)
        if found is None:
            raise NotFound(f"no endpoint {on!r}{nearest(on, endpoints)}; {self.name} has: {', '.join(endpoints) or 'none'}")
        return found

    @classmethod
    def _compiled(cls) -> Mapping[str, Endpoint]:
        """The endpoints, those compiled now whose annotations were not defined when the class was made."""
        if cls._pending:
            _compile(cls, cls._pending)
        return cls._endpoints

    async def _described(self, remote: Remote, on: str | None, timeout: float | None) -> Endpoint:
        """An endpoint of a client without a class."""
        if self._name is None:
            known = await remote.executors(timeout)
            if len(known) != 1:
                raise InvalidArgument(f"{remote.server} has several executors ({', '.join(known)}); write the name into the URL")
            self._name = next(iter(known))
        endpoints = await remote.endpoints(self._name, timeout)
        if on is None and len(endpoints) == 1:
            return next(iter(endpoints.values()))
        if on not in endpoints:
            raise NotFound(f"no endpoint {on!r}{nearest(on or '', endpoints)}; {self._name} has: {', '.join(endpoints)}")
        return endpoints[on]

    # A client of the same class

    @classmethod
    def at(cls, url: str, *, timeout: float | None = 60, codec: str | None = None, metadata: Mapping[str, str] = EMPTY, trust: str | None = None) -> Self:
        """A client of this class at `scheme://host:port[/name]`: same methods, same signatures, run over there.

        No constructor runs, nothing is loaded. `timeout` in seconds for each call, None for none; `trust` a PEM file of
        authorities to trust instead of the system's.
        """
        address = Address.of(url)
        if address.endpoint:
            raise InvalidArgument(f"{url!r} names an endpoint; a client is made from scheme://host:port or scheme://host:port/name")
        client = object.__new__(_client_class(cls))
        client._name = address.executor or None
        chosen = MSGPACK if codec is None else codec_of(codec)
        client._remote = Remote(address.server, DialOptions(trust=trust), chosen, timeout, metadata)
        return client

    # Serving

    def serve(self, *urls: str, certificate: str | None = None, key: str | None = None, grace: float = GRACE, insecure: bool = False) -> None:
        """Serve at `urls` (http://127.0.0.1:8080 where none is given) until SIGINT or SIGTERM; then calls under way get `grace` seconds."""
        serve(self, at=urls or (DEFAULT_URL,), certificate=certificate, key=key, grace=grace, insecure=insecure)

    def start(self, *urls: str, certificate: str | None = None, key: str | None = None, grace: float = GRACE, insecure: bool = False) -> list[str]:
        """Serve in a thread of its own; return the bound URLs (port 0 is resolved). `stop` ends it."""
        if self._background is not None:
            raise FailedPrecondition(f"{self.name} serves already; stop() it first, or give all URLs to one start()")
        self._refuse_client("start")
        background = Background([self], urls or (DEFAULT_URL,), ListenOptions(certificate, key, insecure=insecure), grace)
        bound = background.start()
        self._background = background
        return bound

    def stop(self) -> None:
        """End what `start` began: calls under way finish first. Without a start, nothing."""
        background, self._background = self._background, None
        if background is not None:
            background.stop()

    def _refuse_client(self, what: str) -> None:
        if self._remote is not None:
            raise FailedPrecondition(f"{what}: this is a client of {self._remote.server}; it has nothing of its own to serve")

    async def setup(self) -> None:
        """Yours to define: runs once, before the first call."""

    def close(self) -> None:
        """Yours to define: runs when a `with` block is left or a server that the command line started ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        remote = self._remote
        if remote is not None:
            await remote.aclose()
        await asyncio.to_thread(self._end)
        self.close()

    def _end(self) -> None:
        """Let go of what the framework holds: server, threads, connections."""
        self.stop()
        if self._site is not None:
            self._site.threads.close()
        remotes = [*self.__dict__.get("_elsewhere", {}).values(), *([self._remote] if self._remote is not None else [])]
        for remote in remotes:
            sync.close_remote(remote)

    # What a site asks of what it hosts

    @property
    def hosted_name(self) -> str:
        return self.name

    def hosted_endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]:
        self._refuse_client("serve")
        return [(endpoint, getattr(self, self._attributes[name])) for name, endpoint in self._compiled().items()]

    def hosted_layers(self) -> tuple[Callable[[Service], Service], ...]:
        return self._layers

    async def hosted_setup(self) -> None:
        if not self._is_set_up:
            self._is_set_up = True
            try:
                await self.setup()
            except BaseException:
                self._is_set_up = False
                raise

    def _is_ready(self) -> bool:
        return self._is_set_up or type(self).setup is Executor.setup

    def _local_site(self) -> Site:
        if self._site is None:
            self._site = Site((self,))
        return self._site

    def __repr__(self) -> str:
        where = f" at {self._remote.server}" if self._remote is not None else ""
        return f"<{getattr(type(self), '_is_client', type(self)).__name__} {self.name!r}{where}>"


_SERVERS_LIMIT = 64  # servers that one executor posts to by URL: more than a program names; the oldest is dialled again
_OWN_NAMES = frozenset(name for name in vars(Executor) if not name.startswith("_"))


def _resolved(address: Address, known: Mapping[str, Mapping[str, Endpoint]]) -> tuple[str, str]:
    """Executor and endpoint that a URL names; with one name in its path, the one endpoint of that name."""
    if address.endpoint:
        return address.executor, address.endpoint
    found = [executor for executor, endpoints in known.items() if address.executor in endpoints]
    if len(found) == 1:
        return found[0], address.executor
    listed = ", ".join(f"{executor}/{name}" for executor, endpoints in known.items() for name in endpoints)
    raise NotFound(f"{address.server} has {len(found) or 'no'} endpoints {address.executor!r}; write /executor/endpoint, one of: {listed}")


def _collect(cls: type[Executor], namespace: Mapping[str, Any]) -> None:
    """Find the endpoints of a class that is being made. Raises TypeError naming what is wrong."""
    pending: dict[str, Mapping[str, Any]] = dict(cls._pending)
    attributes = dict(cls._attributes)
    for attribute, function in vars(cls).items():
        mark = mark_of(function)
        inherited = next((name for name, known in cls._attributes.items() if known == attribute), None)
        if mark is None and (inherited is None or not inspect.isfunction(function)):
            continue
        name = (mark.name if mark is not None else None) or inherited or attribute
        if attribute in _OWN_NAMES or name in _OWN_NAMES:
            raise TypeError(f"{cls.__name__}.{attribute}: {name!r} is an attribute of every Executor; name the method otherwise, and the endpoint by @post(name=...)")
        if not _NAME.fullmatch(name):
            raise TypeError(f"{cls.__name__}.{attribute}: {name!r} is not a name for an endpoint; it takes letters, digits and _.-")
        attributes[name] = attribute
        pending[name] = dict(namespace)
    cls._attributes = attributes
    cls._endpoints = dict(cls._endpoints)
    cls._pending = pending
    try:
        _compile(cls, pending)
    except NameError:
        pass  # an annotation that is defined later: compiled on first use


def _compile(cls: type[Executor], pending: Mapping[str, Mapping[str, Any]]) -> None:
    owner = snake_case(cls.__name__)
    made = {name: Endpoint.of(inspect.getattr_static(cls, cls._attributes[name]), owner, name, namespace) for name, namespace in pending.items()}
    order = {**cls._endpoints, **made}
    cls._endpoints = {name: order[name] for name in cls._attributes if name in order}
    cls._pending = {}


def _client_class(cls: type[Executor]) -> Any:
    """The class of clients: the endpoints of `cls`, each a call to somewhere else."""
    found = cls.__dict__.get("_client_class")
    if found is None:
        methods = {cls._attributes[name]: _remote_method(name, endpoint, getattr(cls, cls._attributes[name])) for name, endpoint in cls._compiled().items()}
        found = type(cls.__name__, (cls,), {**methods, "_is_client": cls, "__getattr__": _missing, "__module__": cls.__module__, "__doc__": cls.__doc__})
        cls._client_class = found  # type: ignore[attr-defined]
    return found


def _missing(self: Executor, name: str) -> Any:
    server = self._remote.server if self._remote is not None else "nowhere"
    raise AttributeError(f"{self.name} has no attribute {name!r} here: this is a client of {server}, whose constructor never ran")


def _remote_method(name: str, endpoint: Endpoint, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Executor, *args: Any, **kwargs: Any) -> Any:
        arguments = endpoint.bind(args, kwargs)
        return self.apost(name, **arguments) if endpoint.is_async else self.post(name, **arguments)

    call.__name__, call.__qualname__, call.__doc__ = function.__name__, function.__qualname__, function.__doc__
    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call


def serve(*executors: Executor, at: Sequence[str] = (DEFAULT_URL,), certificate: str | None = None, key: str | None = None, grace: float = GRACE, insecure: bool = False) -> None:
    """Serve several executors in one server, at one or several URLs, until SIGINT or SIGTERM.

    `certificate` and `key` are PEM files, for TLS. Beyond loopback it refuses unless `insecure`. Calls under way get `grace`
    seconds; a second signal ends them.
    """
    if not executors:
        raise InvalidArgument("serve() takes at least one executor")
    urls = (at,) if isinstance(at, str) else tuple(at)
    serve_until_signal(executors, urls, ListenOptions(certificate, key, insecure=insecure), grace, _announce)


def _announce(urls: Sequence[str]) -> None:
    print(f"xooai serves at {' '.join(urls)}", flush=True)
