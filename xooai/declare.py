"""What a class declares: its endpoints, found and checked when the class is made, and the class of its clients."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xooai.endpoint import Endpoint, mark_of

__all__ = ["Declared", "checked_name", "client_class", "snake_case"]

_TAKEN = frozenset({"livez", "readyz", "docs", "metrics", "status", "xooai"})
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}", re.IGNORECASE)


def snake_case(name: str) -> str:
    """`MyExecutor` → `my_executor`, `OCRReader` → `ocr_reader`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def checked_name(name: str) -> str:
    """The name, if an executor may be called so. Raises ValueError."""
    if name in _TAKEN:
        raise ValueError(f"an executor cannot be called {name!r}: that path is the server's own; pass another name=")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name for an executor; it takes letters, digits and _.- (at most 128)")
    return name


class Declared:
    """The endpoints of one class, its bases' included. `attributes` says which attribute of the class each is."""

    def __init__(self, cls: type, inherited: Declared | None, own_names: frozenset[str], namespace: Mapping[str, Any]) -> None:
        self._cls = cls
        self._namespaces: dict[str, Mapping[str, Any]] = dict(inherited._namespaces) if inherited else {}
        self._endpoints: dict[str, Endpoint] | None = None
        self.attributes: dict[str, str] = dict(inherited.attributes) if inherited else {}
        for attribute, function in vars(cls).items():
            name = self._name_of(attribute, function)
            if name is None:
                continue
            if attribute in own_names or name in own_names:
                raise TypeError(
                    f"{cls.__name__}.{attribute}: {name!r} is an attribute of every Executor; name the method otherwise, "
                    "and the endpoint by @post(name=...)"
                )
            if not _NAME.fullmatch(name):
                raise TypeError(f"{cls.__name__}.{attribute}: {name!r} is not a name for an endpoint; it takes letters, digits and _.-")
            self.attributes[name] = attribute
            self._namespaces[name] = namespace
        try:
            self._endpoints = self._compiled()
        except NameError:
            pass  # an annotation that is defined later: compiled on first use

    def _name_of(self, attribute: str, function: object) -> str | None:
        """The name of the endpoint that an attribute is, if it is one: marked, or overriding one that was."""
        mark = mark_of(function)
        inherited = next((name for name, known in self.attributes.items() if known == attribute), None)
        if mark is not None:
            return mark.name or attribute
        return inherited if inspect.isfunction(function) else None

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The endpoints by name. Raises NameError while an annotation is not defined."""
        if self._endpoints is None:
            self._endpoints = self._compiled()
            self._namespaces = {name: {} for name in self._namespaces}
        return self._endpoints

    def _compiled(self) -> dict[str, Endpoint]:
        owner = snake_case(self._cls.__name__)
        return {
            name: Endpoint.of(inspect.getattr_static(self._cls, attribute), owner, name, self._namespaces[name])
            for name, attribute in self.attributes.items()
        }

    def of(self, function: object) -> Endpoint | None:
        """The endpoint that a method of the class is."""
        attribute = getattr(function, "__name__", None)
        return next((self.endpoints[name] for name, known in self.attributes.items() if known == attribute), None)


def client_class(cls: type, declared: Declared, send: Callable[[Any, Endpoint, dict[str, Any]], Any]) -> type:
    """A subclass whose endpoints are calls to somewhere else, made by `send(client, endpoint, arguments)`."""
    methods: dict[str, Any] = {
        attribute: _remote_method(declared.endpoints[name], getattr(cls, attribute), send) for name, attribute in declared.attributes.items()
    }
    rest = {"_stands_for": cls, "__getattr__": _missing, "__module__": cls.__module__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), {**methods, **rest})


def _missing(self: Any, name: str) -> Any:
    raise AttributeError(f"{name!r} is not here: this is {self!r}, a client, whose constructor never ran")


def _remote_method(endpoint: Endpoint, function: Callable[..., Any], send: Callable[[Any, Endpoint, dict[str, Any]], Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return send(self, endpoint, endpoint.bind(args, kwargs))

    method.__name__, method.__qualname__, method.__doc__ = function.__name__, function.__qualname__, function.__doc__
    method.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return method


def listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Names for an error's text."""
    return ", ".join(names) or "none"
