"""Which executors a process makes: all of them, or all but those that are isolated, or the one that is isolated in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from xooai.errors import InvalidArgument
from xooai.hints import nearest
from xooai.isolated.standing import Standing
from xooai.shared_stores import NONE, Stores, store_of

__all__ = ["Apart", "Role", "checked_names", "found", "name_of", "path_of", "take"]

T = TypeVar("T")


class Role(Struct, frozen=True):
    """What one process of a server is for. `own` is the executor that is isolated in it, "" in one that takes calls."""

    isolated: Mapping[str, str] = {}
    """The sockets of the isolated executors, by name."""
    own: str = ""


_role = Role()


def take(role: Role) -> None:
    """This process is for that."""
    global _role  # noqa: PLW0603 - a process has one
    _role = role


class Apart:
    """An executor in a process of its own, where calls to it come in: its class is known, and nothing is made of it."""

    def __init__(self, kind: Any, name: str, path: str, stores: Stores = NONE) -> None:
        self._kind, self._name, self._path = kind, name, path
        self._xooai_stores = stores

    def _xooai_keep(self, *, _xooai_stores: Stores) -> None:
        self._xooai_stores = _xooai_stores

    def _xooai_hosted(self) -> Standing:
        return Standing(self._name, self._kind._xooai_declared.endpoints, self._path, self._xooai_stores)

    def _xooai_served(self) -> None:
        """There is nothing to let go of."""

    def close(self) -> None:
        """There is nothing to close."""


def found(kind: Any, given: Mapping[str, Any], make: Callable[[], T]) -> T | Apart | None:
    """What this process hosts for a class, whose constructor gets `given` by name: an executor, made now; what stands for it; or
    None where others do. Raises what `make` raises, and InvalidArgument where that has another name than was expected.
    """
    if not _role.isolated:
        return make()
    name = name_of(kind, given)
    if not _role.own:
        if name not in _role.isolated:
            return make()
        return Apart(kind, name, _role.isolated[name], store_of(given.get("store")))
    if name != _role.own:
        return None
    made: Any = make()
    if made.name != name:
        raise InvalidArgument(
            f"{kind.__name__} calls itself {made.name!r}, and is known as {name!r} to the processes that do not make it; "
            "leave the name to the class, or give it by name="
        )
    if made._xooai_stores and given.get("store") is None:
        raise InvalidArgument(
            f"{kind.__name__} makes a store of its own, which the processes that do not make it cannot read; take it as "
            "store= of the constructor, and give it there, or give it to the server by --store"
        )
    return made  # type: ignore[no-any-return]


def name_of(kind: Any, given: Mapping[str, Any]) -> str:
    """The name that an executor will have."""
    name = given.get("name")
    return name if isinstance(name, str) else str(kind._xooai_class_name)


def checked_names(isolated: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Names of executors. Raises InvalidArgument for one that is none."""
    known = list(known)
    for name in isolated:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise InvalidArgument(
                f"isolated={str(name)[:80]!r} names no executor{nearest(str(name), known)}; there are: {listed}"
            )
    return tuple(dict.fromkeys(isolated))


def path_of(folder: str, place: int) -> str:
    """The socket of an isolated executor. A short one: the system takes some 100 characters."""
    return os.path.join(folder, f"isolated-{place}")
