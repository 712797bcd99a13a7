"""Executor: a named set of typed endpoints, that is server and client."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xooai.call import Layer, asked_codec
from xooai.caller import Caller
from xooai.codec import MSGPACK
from xooai.declare import Declared, check_hooks, checked_name, client_class, snake_case, surroundings
from xooai.driver import EMPTY, DialOptions, Shape
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition, InvalidArgument
from xooai.lazy import lazy
from xooai.local import Local
from xooai.served import Served
from xooai.shared_stores import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from types import ModuleType

    from xooai import address as addresses
    from xooai import client as remotes
    from xooai.config import executors as in_files
    from xooai.config import names
    from xooai.store import Store
else:
    addresses = lazy("xooai.address")
    remotes = lazy("xooai.client")
    in_files = lazy("xooai.config.executors")
    names = lazy("xooai.config.names")

__all__ = ["Executor"]

_PLAIN = (str, int, float, bool, NoneType, list, tuple, dict)  # what a file can hold


class Executor(Served):
    """A named set of endpoints: the methods marked with `@post` or `@stream`.

    Made by its own constructor it answers calls itself: call its methods as plain Python, `post` in process through the whole
    call stack, or `serve` it. Made by `at(url)`, or from a URL, it sends them there. A subclass need not call
    `super().__init__`.
    """

    _xooai_client: ClassVar[type[Executor] | None] = None
    _xooai_given: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    if not TYPE_CHECKING:  # to who reads types, and to inspect.signature, the constructor is what it was

        def __new__(cls, /, *args, **kwargs):
            """Keep what the constructor gets, for `dump`: plain values alone, so that nothing is held that it let go of."""
            new = super().__new__
            made = new(cls) if new is object.__new__ else new(cls, *args, **kwargs)
            if all(isinstance(one, _PLAIN) for one in (*args, *kwargs.values())):
                Executor._xooai_keep(made, _xooai_given=(args, kwargs))
            return made

    def __init__(
        self,
        url: str | None = None,
        /,
        *,
        name: str | None = None,
        gateway: str | None = None,
        store: str | Store | None = None,
        layers: Sequence[Layer] = (),
    ) -> None:
        """`store` holds contents that are too large for a message: a URL, or `name=URL`, or an open Store. Both sides of a call
        know it by its name, the last part of the URL where none is given. Without one, large contents go from and to servers
        by calls of their own.
        """
        self._xooai_keep(
            _xooai_stores=store_of(store),
            _xooai_name=None if name is None else checked_name(name),
            _xooai_gateway=gateway,
            _xooai_layers=tuple(layers),
        )
        if url is not None:
            address = addresses.Address.of(url)
            if address.endpoint:
                raise InvalidArgument(
                    f"{url!r} names an endpoint; a client is made from scheme://host:port/name, and on= names the endpoint"
                )
            remote = remotes.Remote(address.server, layers=self._xooai_layers, stores=self._xooai_stores)
            self._xooai_keep(_xooai_name=address.executor or self._xooai_name, _xooai_remote=remote)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_xooai_stands_for" not in cls.__dict__:
            cls._xooai_class_name = checked_name(snake_case(cls.__name__))
            cls._xooai_client = None
            cls._xooai_declared = Declared(cls, _OWN_NAMES, surroundings(sys._getframe(1)))
            check_hooks(cls)

    def _xooai_local(self) -> Local:
        if self._xooai_own is None:
            if self._xooai_remote is not None:
                raise FailedPrecondition(f"{self!r} is a client; it has nothing of its own to serve")
            has_setup = type(self).setup is not Executor.setup
            self._xooai_keep(
                _xooai_own=Local(self, self._xooai_declared, self._xooai_layers, self._xooai_stores, has_setup)
            )
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
        retry: int = 3,
        hedge: float | None = None,
    ) -> Self:
        """A client of this class at `scheme://host:port[/name]`: same methods, same signatures, run over there.

        No constructor runs, nothing is loaded. `timeout` in seconds for each call, None for none; `trust` a PEM file of
        authorities to trust instead of the system's. A call that surely has not run, or of an endpoint that is
        `idempotent`, is made up to `retry` times anew, within its timeout; 0 for never. With `hedge`
        one of an `idempotent` endpoint that takes longer than so many seconds is made a second time, and the first answer counts.
        """
        address = addresses.Address.of(url)
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
            retries=remotes.Retries(retry),
            hedge=hedge,
        )
        Executor._xooai_keep(client, _xooai_name=address.executor or None, _xooai_remote=remote)
        return client  # type: ignore[no-any-return]

    # In a file

    @classmethod
    def load(cls, path: str | PathLike[str], *, modules: Iterable[str | ModuleType] = ()) -> Self:
        """An executor that a YAML file tells of: `use: module:Class`, and `with:` what its constructor gets.

        `modules` are those whose classes the file may name. Called on a class of yours it may leave `use` out, and that class
        is allowed. Raises InvalidArgument with the line, and what the constructor raises.
        """
        kind = in_files.kind_of(path, names.Modules(modules), cls)
        return kind.made()  # type: ignore[return-value] # a subclass of cls

    def dump(self) -> str:
        """The text of a file that `load` makes such an executor of. Raises InvalidArgument for what a file cannot say."""
        return in_files.as_file(self)

    def __repr__(self) -> str:
        where = f" at {self._xooai_remote.server}" if self._xooai_remote is not None else ""
        return f"<{(self._xooai_stands_for or type(self)).__name__} {self.name!r}{where}>"


# Errors are to name the class that users know.
for _method in (*vars(Caller).values(), *vars(Served).values()):
    if inspect.isfunction(_method) and not _method.__name__.startswith("_"):
        _method.__module__, _method.__qualname__ = Executor.__module__, f"Executor.{_method.__name__}"

Executor.__new__.__signature__ = inspect.signature(Executor.__init__)  # type: ignore[attr-defined]

_FREE = frozenset({"load", "dump"})  # natural names for endpoints, and nothing here calls these of a subclass
_OWN_NAMES = frozenset(name for name in dir(Executor) if not name.startswith("_")) - _FREE
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
