"""Executors in files: the class by its name, what its constructor gets, how it is called, and which endpoints it has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import new_class
from typing import Any, TypeVar

import msgspec
from pydantic import Field

from xooai.config.checked import Said, checked
from xooai.config.names import Modules, name_of
from xooai.config.reading import Written, read_file
from xooai.config.writing import Inline, plain, written
from xooai.declare import checked_name
from xooai.errors import InvalidArgument
from xooai.served import Served

__all__ = ["FileOfExecutor", "Kind", "as_file", "kind_of", "kind_said", "named", "said_of"]

S = TypeVar("S", bound=Served)


class Metas(Said):
    """What an executor is called, and what is said of it."""

    name: str | None = None
    description: str | None = None


class FileOfExecutor(Said):
    """The keys of an executor in a file."""

    use: str | None = None
    with_: dict[str, Any] = Field(default={}, alias="with")
    metas: Any = None
    requests: dict[str, str] | None = None


class Kind(msgspec.Struct, frozen=True):
    """A class of executors, and what its constructor gets."""

    kind: type[Served]
    with_: Mapping[str, Any]
    where: str
    """The file and the line of `with`."""

    def made(self) -> Served:
        """Raises InvalidArgument where the constructor does not take these, and what else it raises."""
        try:
            return self.kind(**self.with_)
        except TypeError as error:
            told = str(error)
            if any(
                words in told for words in ("keyword argument", "required positional argument", "multiple values for")
            ):
                raise InvalidArgument(f"{self.where}: with= is not what {self.kind.__name__} takes: {told}") from error
            raise


class _Configured(msgspec.Struct, frozen=True):
    """What a class was made of here."""

    kind: type[Served]
    metas: Mapping[str, str]
    requests: Mapping[str, str] | None


def kind_of(path: Any, modules: Modules, base: type[Served]) -> Kind:
    """What the file at `path` tells of: a class that is `base` or made of it. Raises InvalidArgument, and what reading raises."""
    said = read_file(path)
    if isinstance(said.value, dict) and "nodes" in said.value:
        raise InvalidArgument(f"{said.where(('nodes',))}: this is a Flow: Flow.load(...), or xooai flow serve {path}")
    return kind_said(said, (), modules, base)


def kind_said(said: Written, place: tuple[str | int, ...], modules: Modules, base: type[Served]) -> Kind:
    """As `kind_of`, of the mapping at `place`."""
    keys = checked(FileOfExecutor, said, place, "an executor")
    try:
        kind = _class(keys.use, modules, base)
    except InvalidArgument as error:
        said.refuse(error.message, (*place, "use"))
    return Kind(_configured(kind, keys, said, place), keys.with_, said.where((*place, "with")))


def _class(use: str | None, modules: Modules, base: type[Served]) -> type[Served]:
    """The class that is named, which is allowed where it is the one that was asked for."""
    is_given = "_xooai_stands_for" not in vars(base) and not base.__module__.startswith("xooai.")
    if use is None:
        if not is_given:
            raise InvalidArgument("an executor has no 'use', which names its class as module:Class")
        return base
    if is_given and use == f"{base.__module__}:{base.__qualname__}":
        return base
    found = modules.find(use)
    if not isinstance(found, type):
        raise InvalidArgument(f"{use!r} is a function, not a class of executors")
    if not issubclass(found, base):
        raise InvalidArgument(f"{use!r} is no {base.__name__}")
    return found


def _configured(kind: type[S], keys: FileOfExecutor, said: Written, place: tuple[str | int, ...]) -> type[S]:
    """The class as it is to be called, with the endpoints that it is to have."""
    metas = {} if keys.metas is None else checked(Metas, said, (*place, "metas"), "metas").model_dump(exclude_none=True)
    if not metas and keys.requests is None:
        return kind
    try:
        name = checked_name(metas.get("name", kind._xooai_class_name))
    except ValueError as error:
        said.refuse(str(error), (*place, "metas", "name"))
    body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    body["__doc__"] = metas.get("description", kind.__doc__) or ""
    made: Any = new_class(kind.__name__, (kind,), {}, lambda namespace: namespace.update(body))
    made._xooai_class_name = name
    made._xooai_configured = _Configured(kind, metas, keys.requests)
    if keys.requests is not None:
        if not keys.requests:
            said.refuse("requests is empty; it takes endpoint: method, or is left out for all", (*place, "requests"))
        declared = made._xooai_declared
        for name, method in keys.requests.items():
            try:
                declared.renamed({name: method})
            except InvalidArgument as error:
                said.refuse(error.message, (*place, "requests", name))
        made._xooai_declared = declared.renamed(keys.requests)
    return made  # type: ignore[no-any-return] # a subclass, made at run time


def as_file(executor: Served) -> str:
    """The text of a file that tells of this executor. Raises InvalidArgument."""
    try:
        return written(said_of(executor))
    except ValueError as error:
        raise InvalidArgument(f"{executor!r} cannot be written: {error}") from None


def said_of(executor: Served) -> dict[str, Any]:
    """The keys that tell of an executor. Raises ValueError."""
    remote, given = executor._xooai_remote, getattr(executor, "_xooai_given", None)
    if remote is not None:
        raise ValueError(f"it is a client of {remote.server}, and its URL says it all")
    if given is None:
        raise ValueError("it is not known what its constructor got")
    places, names = given
    signature = inspect.signature(type(executor))
    bound = signature.bind(*places, **names)
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        how = signature.parameters[name].kind
        if how in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
            raise ValueError(f"its constructor got {name!r} by place, and a file gives all by name")
        found |= value if how is inspect.Parameter.VAR_KEYWORD else {name: value}
    return named(type(executor), found)


def named(kind: type[Served], with_: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that tell of a class, and of what its constructor gets. Raises ValueError."""
    configured: _Configured | None = getattr(kind, "_xooai_configured", None)
    origin = kind if configured is None else configured.kind
    found: dict[str, Any] = {"use": name_of(origin)}
    if with_:
        found["with"] = Inline(plain(dict(with_), "with"))
    if configured is not None and configured.metas:
        found["metas"] = Inline(configured.metas)
    if configured is not None and configured.requests is not None:
        found["requests"] = Inline(configured.requests)
    return found
