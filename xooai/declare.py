"""What a class declares: its endpoints, found and checked when the class is made, and the class of its clients."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from types import FrameType, new_class
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, NotFound
from xooai.generics import bound, open_in, variables_of
from xooai.hints import nearest
from xooai.lazy import lazy
from xooai.mark import Mark, mark_of

if TYPE_CHECKING:
    from xooai import warmup
else:
    warmup = lazy("xooai.warmup")  # few endpoints have any

__all__ = ["Declared", "check_hooks", "checked_name", "chosen", "client_class", "listed", "snake_case", "surroundings"]

_TAKEN = frozenset({"livez", "readyz", "docs", "metrics", "status", "xooai"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def snake_case(name: str) -> str:
    """`MyExecutor` → `my_executor`, `OCRReader` → `ocr_reader`, `_Private` → `private`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.lstrip("_")).lower()


def checked_name(name: str) -> str:
    """The name, if an executor may be called so. Raises ValueError."""
    if name in _TAKEN:
        raise ValueError(f"an executor cannot be called {name!r}: that path is the server's own; pass another name=")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name for an executor; it takes letters, digits and _.- (at most 128)")
    return name


def surroundings(frame: FrameType) -> dict[str, Any]:
    """The names of the function in which a class stands: its annotations may use them. Empty for a class of a module."""
    around: FrameType | None = frame
    while around is not None and around.f_code.co_name == "__init_subclass__":  # of a base that has a hook of its own
        around = around.f_back
    return {} if around is None or around.f_locals is around.f_globals else dict(around.f_locals)


class Declared:
    """The endpoints of one class, its bases' included. `attributes` says which attribute of the class each is."""

    def __init__(self, cls: type, own_names: frozenset[str], namespace: Mapping[str, Any]) -> None:
        self._cls = cls
        self._namespace: Mapping[str, Any] = {cls.__name__: cls, **namespace}
        self._endpoints: dict[str, Endpoint] | None = None
        self.attributes: dict[str, str] = {}
        for attribute in _attributes(cls):
            name = _endpoint_name(cls, attribute, own_names)
            if name in self.attributes:
                raise TypeError(
                    f"{cls.__name__}.{attribute}: the endpoint {name!r} is {self.attributes[name]!r} already; "
                    "give one of them another name"
                )
            self.attributes[name] = attribute
        try:
            self._endpoints = self._compiled()
        except NameError:
            return  # an annotation that is defined later: compiled on first use
        self._namespace = {}  # what stood around the class is not kept

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The endpoints by name. Raises NameError while an annotation is not defined."""
        if self._endpoints is None:
            self._endpoints = self._compiled()
            self._namespace = {}
        return self._endpoints

    def renamed(self, names: Mapping[str, str]) -> Declared:
        """Endpoints by other names, and none beside them: of each the method that answers it. Raises InvalidArgument."""
        known = list(self.attributes.values())
        for name, attribute in names.items():
            if not _NAME.fullmatch(name):
                raise InvalidArgument(f"{name!r} is not a name for an endpoint; it takes letters, digits and _.-")
            if attribute not in known:
                raise InvalidArgument(
                    f"{self._cls.__name__} has no endpoint {attribute!r}{nearest(attribute, known)}; its methods: {listed(known)}"
                )
        found = copy(self)
        found.attributes = dict(names)
        if self._endpoints is not None:
            by_method = {attribute: self._endpoints[name] for name, attribute in self.attributes.items()}
            found._endpoints = {name: replace(by_method[attribute], name=name) for name, attribute in names.items()}
        return found

    def _compiled(self) -> dict[str, Endpoint]:
        owner = snake_case(self._cls.__name__)
        return {name: self._endpoint(owner, name, attribute) for name, attribute in self.attributes.items()}

    def _endpoint(self, owner: str, name: str, attribute: str) -> Endpoint:
        home = next(_homes(self._cls, attribute))
        declared: Declared | None = None if home is self._cls else vars(home).get("_xooai_declared")
        namespace = self._namespace
        variables = {} if home is self._cls else variables_of(self._cls, home)
        mark = _mark(self._cls, attribute)
        if declared is not None and declared.attributes.get(name) == attribute:
            if declared._endpoints is not None and not getattr(home, "__parameters__", ()):
                kept = declared._endpoints[name]
                many = None if kept.many is None else replace(kept.many, owner=owner, **_said(mark))
                return replace(kept, owner=owner, many=many, **_said(mark))
            namespace = {**declared._namespace, **namespace}
        bind = partial(self._bound, home, variables)
        found = Endpoint.of(vars(home)[attribute], owner, name, namespace, bind, mark.streams, mark.batch)
        said = _said(mark)
        if said != _NOTHING_SAID:
            found = replace(found, many=None, **said)
        if found.warmup:
            warmup.check(found)
        return found

    def _bound(self, home: type, variables: Mapping[Any, Any], annotation: Any) -> Any:
        """An annotation of a method of `home`, as this class has it. Raises LookupError for a type variable that stays open."""
        found = bound(annotation, variables)
        for variable in open_in(found):
            if variable not in getattr(self._cls, "__parameters__", ()):
                name = home.__name__
                raise LookupError(
                    f"nothing says what the type variable {variable} stands for; "
                    f"name the type: class {self._cls.__name__}({name}[...])"
                    if home is not self._cls
                    else f"nothing says what the type variable {variable} stands for; annotate with a type, or "
                    f"make the class generic: class {name}(Executor, Generic[{variable.__name__}])"
                )
        return found

    def of(self, function: object) -> Endpoint | None:
        """The endpoint that a method of the class, or the one that it overrides, is."""
        for name, attribute in self.attributes.items():
            if any(vars(home)[attribute] is function for home in _homes(self._cls, attribute)):
                return self.endpoints[name]
        return None


def _said(mark: Mark) -> dict[str, Any]:
    """What a mark says of the endpoint beside its signature."""
    return {
        "cache": mark.cache,
        "idempotent": mark.idempotent,
        "warmup": mark.warmup,
        "limit": mark.limit,
        "queue": mark.queue,
    }


_NOTHING_SAID = _said(Mark())


def _homes(cls: type, attribute: str) -> Iterator[type]:
    """The classes that define an attribute, the nearest first."""
    return (base for base in cls.__mro__ if attribute in vars(base))


def _attributes(cls: type) -> list[str]:
    """The attributes of a class that are endpoints, those of its bases first: marked, or overriding one that was."""
    return list(
        dict.fromkeys(
            name for base in reversed(cls.__mro__) for name, value in vars(base).items() if mark_of(value) is not None
        )
    )


def _mark(cls: type, attribute: str) -> Mark:
    """The nearest mark on an attribute: what overrides an endpoint is one without a mark of its own."""
    found = (mark_of(vars(home)[attribute]) for home in _homes(cls, attribute))
    return next(mark for mark in found if mark is not None)


def _endpoint_name(cls: type, attribute: str, own_names: frozenset[str]) -> str:
    """The name of the endpoint that an attribute is. Raises TypeError."""
    where = f"{cls.__name__}.{attribute}"
    values = [vars(home)[attribute] for home in _homes(cls, attribute)]
    if not inspect.isfunction(values[0]):
        mark = mark_of(values[0])
        if mark is not None:
            raise TypeError(
                f"{where}: @{mark.decorator} stands on a method (def or async def), not on a {type(values[0]).__name__}"
            )
        raise TypeError(f"{where}: this endpoint is overridden by {values[0]!r}; only a method can answer calls")
    if attribute in own_names:
        raise TypeError(
            f"{where}: {attribute!r} is an attribute of every Executor; name the method otherwise, "
            f"and the endpoint by @{_mark(cls, attribute).decorator}(name={attribute!r})"
        )
    given = _mark(cls, attribute).name
    name = attribute if given is None else given
    if not _NAME.fullmatch(name):
        raise TypeError(f"{where}: {name!r} is not a name for an endpoint; it takes letters, digits and _.-")
    return name


def check_hooks(cls: type) -> None:
    """Raise TypeError for `setup` and `close` that are not as they will be called."""
    setup, close = (inspect.unwrap(getattr(cls, name)) for name in ("setup", "close"))
    if not callable(setup) or (inspect.isroutine(setup) and not inspect.iscoroutinefunction(setup)):
        raise TypeError(
            f"{cls.__name__}.setup: this hook is awaited before the first call: write it as `async def setup(self)`; "
            "what blocks goes there as await asyncio.to_thread(...)"
        )
    if not callable(close) or inspect.iscoroutinefunction(close) or inspect.isasyncgenfunction(close):
        raise TypeError(
            f"{cls.__name__}.close: this hook is called without a loop when a with block is left: write it as `def close(self)`"
        )


def client_class(
    cls: type,
    declared: Declared,
    send: Callable[[Any, Endpoint, dict[str, Any]], Any],
    shown: Callable[[Any], str],
) -> type:
    """A subclass whose endpoints are calls to somewhere else, made by `send(client, endpoint, arguments)`; its repr: `shown`."""
    methods: dict[str, Any] = {
        attribute: _remote_method(declared.endpoints[name], getattr(cls, attribute), send)
        for name, attribute in declared.attributes.items()
    }
    # The hooks of the user's class, and what it says of itself, are for what its constructor made.
    rest = {
        "_xooai_stands_for": cls,
        "__getattr__": _missing,
        "close": _nothing,
        "__del__": _nothing,
        "__repr__": shown,
        "__str__": shown,
        "__eq__": object.__eq__,
        "__hash__": object.__hash__,
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
    }
    return new_class(cls.__name__, (cls,), {}, lambda namespace: namespace.update(**methods, **rest))


def _missing(self: Any, name: str) -> Any:
    raise AttributeError(
        f"{name!r} is not here: this is a client of {self._xooai_remote.server if self._xooai_remote else 'nowhere'}, "
        "whose constructor never ran"
    )


def _nothing(self: Any) -> None:
    """Leave a `with` block, or be collected: the framework closes the connections."""


def _remote_method(
    endpoint: Endpoint, function: Callable[..., Any], send: Callable[[Any, Endpoint, dict[str, Any]], Any]
) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return send(self, endpoint, endpoint.bind(args, kwargs))

    if endpoint.shape & Shape.SERVER and inspect.iscoroutinefunction(function):  # it is awaited for its iterator
        method = _awaited(method)
    method.__name__, method.__qualname__, method.__doc__ = function.__name__, function.__qualname__, function.__doc__
    method.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return method


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return awaited


def listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Names for an error's text."""
    return ", ".join(names) or "none"


def chosen(endpoints: Mapping[str, Endpoint], on: str | None, owner: str) -> Endpoint:
    """The endpoint that `on` names; where there is one, it need not. Raises InvalidArgument and NotFound."""
    if on is None:
        if len(endpoints) == 1:
            return next(iter(endpoints.values()))
        raise InvalidArgument(f"{owner} has {len(endpoints)} endpoints; say which: on= one of {listed(endpoints)}")
    if not isinstance(on, str):
        raise InvalidArgument(f"on={repr(on)[:80]} is no text; it takes the name of an endpoint, or a URL")
    found = endpoints.get(on)
    if found is None:
        raise NotFound(f"no endpoint {on!r}{nearest(on, endpoints)}; {owner} has: {listed(endpoints)}")
    return found
