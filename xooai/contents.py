"""What a peer's refs may lead to: contents of the stores that this side has, through the cache."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from xooai.errors import DataLoss, InvalidArgument
from xooai.lazy import lazy
from xooai.origin import Wanted, refused
from xooai.shared_stores import NONE, Seen, Stores
from xooai.store_ref import EMBEDDED, StoreRef, is_store_ref
from xooai.timed import found_here

if TYPE_CHECKING:
    from xooai import cache as caches
    from xooai import fetch, per_loop, plugins, ranged, remote_file, signed_files
    from xooai import signature as signatures
    from xooai import store as stores
    from xooai.fetch import FetchPolicy
    from xooai.per_loop import PerLoop
    from xooai.store import Opens
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

__all__ = ["Origins", "cache"]

_SWITCH = "XOOAI_FETCH"  # as xooai.fetch has it, which is loaded where it is set
WHOLE = 8 * 1024 * 1024  # bytes up to which `open` fetches all at once: it is verified then, and read again for nothing

T = TypeVar("T")


@functools.cache
def _caches() -> PerLoop[caches.Cache]:
    async def made() -> caches.Cache:
        return caches.Cache()

    return per_loop.PerLoop(made)


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


_fetched = Seen()


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
        if not await self._may_be_cached(source):
            async with aclosing(caches.checked(source)) as chunks:
                data = b"".join([chunk async for chunk in chunks])
        else:
            data = await (await cache()).read(source)
        _learn(wanted)
        self._learn(source)
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
        held, is_cached = await cache(), await self._may_be_cached(source)
        found = await held.find(source.signature) if is_cached else None
        if found is not None:
            found_here()
            return _sized(found, wanted)
        # What a URL leads to may change from one part to the next; what a store has under a signature does not.
        if is_whole or not is_stored or source.size is None or source.size <= WHOLE:
            file = await (held.open(source) if is_cached else caches.spooled(source, None))
            _learn(wanted)
            self._learn(source)
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

    async def _may_be_cached(self, source: caches.Source) -> bool:
        """Whether what the cache has of a content may be given for it: else it is fetched, whatever the cache has."""
        return True

    def _learn(self, source: caches.Source) -> None:
        """Remember that a content came from this peer."""

    async def _embedded(self, ref: StoreRef, wanted: Wanted) -> caches.Source:
        raise refused(wanted.ref)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
