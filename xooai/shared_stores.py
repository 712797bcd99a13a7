"""The stores that one side of a call has, by the names that both sides know them by."""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

from xooai.errors import InvalidArgument, NotFound
from xooai.lazy import lazy
from xooai.store_ref import EMBEDDED, NAME

if TYPE_CHECKING:
    from xooai import per_loop, plugins
    from xooai import store as stores
    from xooai.per_loop import PerLoop
    from xooai.store import Store
else:
    per_loop = lazy("xooai.per_loop")
    plugins = lazy("xooai.plugins")
    stores = lazy("xooai.store")

__all__ = ["NONE", "Seen", "Stores", "folder_of", "store_of"]

TENANTS = 256  # whose stores are open: some connections each
_FOLDER = r"(?!sha256-)[a-z0-9]([a-z0-9_.@-]{0,126}[a-z0-9_@-])?"
"""The name of a tenant that is one for a folder too, also where capitals make no other name, or a dot at its end."""
SEEN = 10_000  # contents that are known to be at a place: some MiB


class Seen:
    """Which places have had which contents: those of the cache that came from elsewhere are not to be had by naming a place."""

    def __init__(self) -> None:
        self._all: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __contains__(self, found: tuple[str, str]) -> bool:
        return found in self._all

    def add(self, place: str, signature: str) -> None:
        self._all[place, signature] = None
        while len(self._all) > SEEN:
            self._all.popitem(last=False)


class Stores:
    """The stores that this side has, by name: each opened anew for every loop, unless it was given open."""

    def __init__(self, given: Mapping[str, str | Store]) -> None:
        self._given = dict(given)
        self._seen = Seen()
        self._tenants: OrderedDict[str, Stores] = OrderedDict()
        self._lock = Lock()

    def of(self, tenant: str) -> Stores:
        """What a tenant has of them: in each a folder of its own, so that a signature reads nothing that others have put. A store
        that was given open has no folders, and is none of a tenant's. "" is nobody in particular, who has the whole.
        """
        if not tenant or not self._given:
            return self
        with self._lock:  # arguments are read in threads, too
            found = self._tenants.get(tenant)
            if found is None:
                folder = folder_of(tenant)
                urls = {name: _below(given, folder) for name, given in self._given.items() if isinstance(given, str)}
                found = self._tenants[tenant] = Stores(urls)
                while len(self._tenants) > TENANTS:
                    self._tenants.popitem(last=False)
            self._tenants.move_to_end(tenant)
            return found

    @functools.cached_property
    def _opened(self) -> PerLoop[_Opened]:
        async def opened() -> _Opened:
            return _Opened(self._given)

        return per_loop.PerLoop(opened)

    def __bool__(self) -> bool:
        return bool(self._given)

    def __contains__(self, name: object) -> bool:
        return name in self._given

    @property
    def given(self) -> Mapping[str, str | Store]:
        """What they were given as: URLs, and those that are open."""
        return self._given

    @property
    def first(self) -> str | None:
        """The name of the one that contents are put into."""
        return next(iter(self._given), None)

    async def get(self, name: str) -> Store:
        """Raises KeyError, and what opening it raises."""
        given = self._given[name]
        return given if not isinstance(given, str) else (await self._opened.get()).store(name)

    async def having(self, name: str, signature: str) -> Store:
        """The store, which has this content: the cache has others too, which peers may not read by the name of a store. Raises
        NotFound, KeyError, and what the store raises.
        """
        store = await self.get(name)
        if (name, signature) not in self._seen:
            if not isinstance(store, stores.Sizes):
                async with aclosing(store.get(signature, 0, 1)) as chunks:
                    async for _ in chunks:
                        pass
            elif await store.size(signature) is None:
                raise NotFound(f"the store {name!r} has no {signature}")
            self._seen.add(name, signature)
        return store

    def __or__(self, other: Stores) -> Stores:
        """Those of both, these first. Raises InvalidArgument where a name stands for two."""
        for name in self._given.keys() & other._given.keys():
            if self._given[name] != other._given[name]:
                raise InvalidArgument(f"two stores are called {name!r}; write store='name=URL' for one of them")
        return Stores({**self._given, **other._given})


class _Opened:
    """Stores on one loop."""

    def __init__(self, urls: Mapping[str, str | Store]) -> None:
        self._urls = urls
        self._stores: dict[str, Store] = {}

    def store(self, name: str) -> Store:
        if name not in self._stores:
            self._stores[name] = plugins.open_store(str(self._urls[name]), stores.StoreOptions(name=name))
        return self._stores[name]

    async def aclose(self) -> None:
        while self._stores:
            _, store = self._stores.popitem()
            await store.aclose()


NONE = Stores({})


def folder_of(tenant: str) -> str:
    """The folder of a tenant: its name, where that is one for a folder everywhere, else `sha256-` and 32 digits of its hash."""
    if re.fullmatch(_FOLDER, tenant) is not None:
        return tenant
    return f"sha256-{sha256(tenant.encode()).hexdigest()[:32]}"


def _below(url: str, folder: str) -> str:
    place, mark, query = url.partition("?")
    place = place if place.endswith("://") else f"{place.rstrip('/')}/"
    return f"{place}{folder}{mark}{query}"


def store_of(given: object) -> Stores:
    """The stores that `store=` names: one that is open, a URL, or `name=URL`. Both sides of a call know a store by its name,
    which is the last part of the URL where none is given. Raises InvalidArgument and PluginError.
    """
    if given is None:
        return NONE
    if not isinstance(given, str):
        if not (callable(getattr(given, "put", None)) and callable(getattr(given, "get", None))):
            raise InvalidArgument(f"store={type(given).__name__} has no put and get; it takes a Store, or a URL of one")
        return Stores({_named(str(getattr(given, "name", ""))): given})  # type: ignore[dict-item]
    name, equals, url = given.partition("=")
    if not equals and "/" not in given and ":" not in given:
        raise InvalidArgument(
            f"store={given!r} says no place; write NAME=URL, as media=s3://bucket/prefix, a URL or a folder, as ./media"
        )
    if not equals or "/" in name or ":" in name:
        url = given
        name = url.rstrip("/").rpartition("/")[2]
    plugins.open_store(
        url, stores.StoreOptions(name=_named(name))
    )  # connects to nothing: tells what is wrong with the URL
    return Stores({name: url})


def _named(name: str) -> str:
    if re.fullmatch(NAME, name) is None or name == EMBEDDED:
        raise InvalidArgument(
            f"{name!r} cannot be the name of a store, by which both sides of a call know it; write store='name=URL', "
            f"with letters, digits, '.', '_' and '-', not {EMBEDDED!r}"
        )
    return name
