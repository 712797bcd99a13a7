"""What a peer's refs may lead to: contents of the stores that this side has, through the cache."""

from __future__ import annotations

import asyncio
import functools
import os
import re
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from xooai.errors import DataLoss, InvalidArgument, NotFound
from xooai.lazy import lazy
from xooai.origin import Wanted, refused
from xooai.store_ref import EMBEDDED, NAME, StoreRef, is_store_ref

if TYPE_CHECKING:
    from xooai import cache as caches
    from xooai import fetch, per_loop, plugins, ranged, remote_file, signed_files
    from xooai import signature as signatures
    from xooai import store as stores
    from xooai.fetch import FetchPolicy
    from xooai.per_loop import PerLoop
    from xooai.store import Opens, Store
else:
    # Most calls fetch nothing.
    caches = lazy("xooai.cache")
    plugins = lazy("xooai.plugins")
    ranged = lazy("xooai.ranged")
    fetch = lazy("xooai.fetch")
    per_loop = lazy("xooai.per_loop")
    signed_files = lazy("xooai.signed_files")
    signatures = lazy("xooai.signature")
    stores = lazy("xooai.store")
    remote_file = lazy("xooai.remote_file")

__all__ = ["NONE", "Origins", "Stores", "cache", "store_of"]

_SWITCH = "XOOAI_FETCH"  # as xooai.fetch has it, which is loaded where it is set
WHOLE = 8 * 1024 * 1024  # bytes up to which `open` fetches all at once: it is verified then, and read again for nothing

SEEN = 10_000  # contents that are known to be at a place: some MiB

T = TypeVar("T")


@functools.cache
def _caches() -> PerLoop[caches.Cache]:
    return per_loop.PerLoop(caches.Cache)


async def cache() -> caches.Cache:
    """The cache of the running loop."""
    return await _caches().get()


def _read(file: BinaryIO, signature: str) -> bytes:
    data = file.read()
    signatures.verify(data, signature)
    return data


async def _verified(file: BinaryIO, signature: str) -> None:
    try:
        await asyncio.to_thread(signed_files.verify, file, signature)
    except BaseException:
        file.close()
        raise


class _Seen:
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
        self._seen = _Seen()

    @functools.cached_property
    def _opened(self) -> PerLoop[_Opened]:
        return per_loop.PerLoop(lambda: _Opened(self._given))

    def __bool__(self) -> bool:
        return bool(self._given)

    def __contains__(self, name: object) -> bool:
        return name in self._given

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


_fetched = _Seen()


async def _goes_around(wanted: Wanted) -> bool:
    """Whether a content is to be fetched from its URL whatever the cache has: it has no signature, or the cache has it from
    elsewhere, and who asks may know no more of it than that.
    """
    if is_store_ref(wanted.ref):
        return False
    if wanted.signature is None:
        return True
    return (wanted.ref, wanted.signature) not in _fetched and await (await cache()).has(wanted.signature)


def _learn(wanted: Wanted) -> None:
    """Remember that a content is what a URL leads to."""
    if wanted.signature is not None and not is_store_ref(wanted.ref):
        _fetched.add(wanted.ref, wanted.signature)


def _sized(file: BinaryIO, wanted: Wanted) -> BinaryIO:
    size = os.fstat(file.fileno()).st_size
    if wanted.size not in (None, size):
        file.close()
        raise DataLoss(f"the content has {size:,} bytes, size says {wanted.size:,}")
    return file


class Origins:
    """A peer whose documents may be read from `stores`. Who knows more of the peer says by `_embedded` what `store:xooai` is."""

    def __init__(self, stores: Stores = NONE) -> None:
        self.stores = stores

    def check(self, ref: str) -> None:
        if not is_store_ref(ref):
            fetch.check(ref, self._policy(ref))
            return
        try:
            name = StoreRef.of(ref).name
        except InvalidArgument:
            raise refused(ref) from None
        if name != EMBEDDED and name not in self.stores:
            raise refused(ref)

    async def read(self, wanted: Wanted) -> bytes:
        if await _goes_around(wanted):
            data = await remote_file.data(wanted.ref, wanted.size, self._policy(wanted.ref))
            if wanted.signature is not None:
                await asyncio.to_thread(signatures.verify, data, wanted.signature)
            _learn(wanted)
            return data
        source = await self._source(wanted)
        if isinstance(source, caches.FromStore) and isinstance(source.store, stores.Opens):
            with await self._on_disk(source, source.store) as file:
                return await asyncio.to_thread(_read, file, source.signature)
        data = await (await cache()).read(source)
        _learn(wanted)
        return data

    async def open(self, wanted: Wanted, *, is_whole: bool = False) -> BinaryIO:
        is_stored = is_store_ref(wanted.ref)
        if await _goes_around(wanted):
            file = await remote_file.file(wanted.ref, wanted.size, self._policy(wanted.ref))
            if wanted.signature is not None:
                await _verified(file, wanted.signature)
            _learn(wanted)
            return file
        source = await self._source(wanted)
        if isinstance(source, caches.FromStore) and isinstance(source.store, stores.Opens):
            file = await self._on_disk(source, source.store)
            if is_whole or os.fstat(file.fileno()).st_size <= WHOLE:
                await _verified(file, source.signature)
            return file
        held = await cache()
        found = await held.find(source.signature)
        if found is not None:
            return _sized(found, wanted)
        # What a URL leads to may change from one part to the next; what a store has under a signature does not.
        if is_whole or not is_stored or source.size is None or source.size <= WHOLE:
            file = await held.open(source)
            _learn(wanted)
            return file
        return ranged.ranged(source.read, source.size, self.wait)

    async def _on_disk(self, source: caches.FromStore, store: Opens) -> BinaryIO:
        """A content that its store has on this machine: to have it in the cache as well would only copy it."""
        file = await store.open(source.signature)
        size = os.fstat(file.fileno()).st_size
        if source.size not in (None, size):
            file.close()
            raise DataLoss(f"{source.signature} has {size:,} bytes, it should have {source.size:,}")
        return file

    def _policy(self, ref: str) -> FetchPolicy:
        """What may be fetched, for a ref that leads into no store. Raises PermissionDenied where that is nothing."""
        policy = None
        if os.environ.get(_SWITCH) and ref.lower().startswith(("http://", "https://")):
            policy = fetch.switched_on()
        if policy is None:
            raise refused(ref)
        return policy

    async def _source(self, wanted: Wanted) -> caches.Source:
        """Where the content is. Raises PermissionDenied for a ref that is not opened here."""
        self.check(wanted.ref)
        if not is_store_ref(wanted.ref):
            signature = str(wanted.signature)
            return remote_file.Fetching(wanted.ref, signature, wanted.size, self._policy(wanted.ref))
        ref = StoreRef.of(wanted.ref)
        if wanted.signature is not None and wanted.signature != ref.signature:
            raise DataLoss(f"the ref leads to {ref.signature}, the document says {wanted.signature}")
        if ref.name not in self.stores:
            return await self._embedded(ref, wanted)
        return caches.FromStore(await self.stores.having(ref.name, ref.signature), ref.signature, wanted.size)

    async def _embedded(self, ref: StoreRef, wanted: Wanted) -> caches.Source:
        raise refused(wanted.ref)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
