"""What a server keeps for its callers: large contents of their calls, and of its replies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from xooai.cache import FromStore, Source
from xooai.cache.folder import told
from xooai.cache.room import on_disk
from xooai.call import current
from xooai.content import check_range, file_chunks
from xooai.contents import cache
from xooai.embedded import endpoints
from xooai.embedded.endpoints import Given, Offered
from xooai.embedded.grants import Ended, Grants
from xooai.embedded.rows import Row, quota
from xooai.embedded.upload import Upload
from xooai.endpoint import Endpoint
from xooai.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    XooaiError,
    too_large,
)
from xooai.log import logger
from xooai.redact import redact
from xooai.shared_stores import NONE, Stores
from xooai.signature import check
from xooai.store import Content
from xooai.store_ref import EMBEDDED, StoreRef

__all__ = ["Keeper"]

PATIENCE = 300.0  # seconds for which a content that came in part waits for the rest: networks are back by then
UPLOADS = 64  # under way for one tenant, each with some MiB in memory and a file on the disk
ALL_UPLOADS = 256  # for all tenants

T = TypeVar("T")

_log = logger("xooai")


class Keeper:
    """Contents kept for the callers of one server, each for its tenant: all callers without a certificate are one."""

    def __init__(self, stores: Stores = NONE) -> None:
        self._stores = stores
        self._under_way: dict[Upload, str] = {}  # all uploads, and whose they are
        self._uploads: dict[tuple[str, str], Upload] = {}  # those that another call may go on with
        self._timers: dict[Upload, asyncio.TimerHandle] = {}  # of those that wait for one, the longest waiting first
        self._ending: set[asyncio.Task[None]] = set()
        self._grants: Grants | None = None

    def endpoints(self) -> Mapping[str, tuple[Callable[[], Endpoint], Callable[..., Any]]]:
        """Path → the endpoint, and the function that answers it."""
        return {
            "/xooai/offer": (endpoints.offer, self.offer),
            "/xooai/upload": (endpoints.upload, self.upload),
            "/xooai/download": (endpoints.download, self.download),
        }

    async def offer(self, contents: Sequence[Offered]) -> list[Given]:
        """Which contents are here already for this caller, and where to go on with the others."""
        tenant = current().identity or ""
        return [await self._offered(tenant, content) for content in contents]

    async def upload(self, signature: str, size: int, place: int, chunks: AsyncIterator[bytes]) -> Given:
        """Take a content, or the rest of one. Without a ref in the answer, another call is to go on from its place."""
        tenant = current().identity or ""
        upload = await self._begun(tenant, signature, size, place)
        if upload is None:
            return await self._offered(tenant, Offered(signature=signature, size=size))
        try:
            is_whole = await upload.bring(chunks)
        except (asyncio.CancelledError, GeneratorExit):
            self._leave(upload)
            raise
        except BaseException as error:
            if isinstance(error, ConnectionError) and not upload.has_failed:  # the caller has left, or its network
                self._leave(upload)
            else:
                self._end(upload)
            raise
        if not is_whole:
            self._leave(upload)
            return Given(place=upload.place)
        self._end(upload)
        await self._remember(tenant, signature, Row(size, is_sent=True))
        # What made way for another content may have been this one, which was here before: then it is to be sent anew.
        return await self._offered(tenant, Offered(signature=signature, size=size))

    async def download(self, ref: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """A content that this caller may read."""
        found = StoreRef.of(ref)
        if found.name != EMBEDDED and found.name not in self._stores:
            raise InvalidArgument(f"{redact(ref)[:100]!r} is kept by another store")
        check_range(start, end)
        source = await self.source(current().identity or "", found, None)
        if isinstance(source, FromStore):  # whoever asks brings it to a cache, which may be this one
            async with aclosing(source.read(start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        with await (await cache()).open(source) as file:
            async with aclosing(file_chunks(lambda: os.dup(file.fileno()), start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def put(self, tenant: str, content: Content) -> str:
        """Keep a content of a reply, and give the ref by which the tenant may read it. It counts as what the tenant has sent: who
        calls has as many replies as calls.
        """
        most = await self._quota(tenant)
        if on_disk(content.size) > most:
            raise too_large(
                content.size, most, "the content of a reply, of which this server keeps a part for each caller,"
            )
        await self._remember(tenant, content.signature, Row(content.size, is_sent=False))
        try:
            await self._kept(content)
        except BaseException:
            await self._blocking(lambda grants: grants.remove(tenant, content.signature))
            raise
        return await self._ref(tenant, content.signature)

    async def granted(self, tenant: str, name: str, signature: str) -> str:
        """The ref to a content of a reply in one of this server's stores: a tenant without that store may read it from here."""
        try:
            return await self._ref(tenant, signature, name)
        except Unimplemented:  # as long as the cache cannot be used
            return str(StoreRef(name, signature))

    async def _kept(self, content: Content) -> None:
        held = await cache()
        with _unusable():
            await held.put(content)

    async def source(self, tenant: str, ref: StoreRef, size: int | None) -> Source:
        """What a ref leads to. Raises NotFound, the same whether there is none or it is another tenant's."""
        check(ref.signature)
        if not await self._blocking(lambda grants: grants.permits(tenant, ref.signature, ref.grant)):
            raise _missing(ref.signature)
        stores = self._stores.of(tenant)
        if ref.name in stores:
            return FromStore(await stores.having(ref.name, ref.signature), ref.signature, size)
        return _Kept(ref.signature, size)

    async def aclose(self) -> None:
        """Give up what is under way."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for upload in list(self._under_way):
            self._end(upload)
        while self._ending:
            await asyncio.wait(self._ending)

    async def _offered(self, tenant: str, content: Offered) -> Given:
        signature, size = content.signature, content.size
        check(signature)
        held = await cache()
        if await self._blocking(lambda grants: grants.permits(tenant, signature, "")):
            try:
                (await held.open(_Kept(signature, size))).close()
            except NotFound:
                await self._blocking(lambda grants: grants.remove(tenant, signature))
            else:
                return Given(ref=await self._ref(tenant, signature), place=size)
        under_way = self._uploads.get((tenant, signature))
        is_free = under_way is not None and not under_way.is_busy and under_way.size == size
        return Given(place=under_way.place if under_way is not None and is_free else 0)

    async def _begun(self, tenant: str, signature: str, size: int, place: int) -> Upload | None:
        """The upload that begins or goes on at this place; None where the caller has to ask anew."""
        check(signature)
        found = self._uploads.get((tenant, signature))
        if found is not None and not found.is_busy and (found.size, found.place) == (size, place):
            self._cancel_timer(found)
            return found
        if place:
            return None
        most = await self._quota(tenant)
        if on_disk(size) > most:
            raise too_large(size, most, "a content for this server's cache, of which each caller has a part,")
        found = self._uploads.get((tenant, signature))  # others may have come while this one waited
        if found is not None and not found.is_busy:
            self._end(found)
        self._make_room(tenant, size, most)
        upload = Upload(signature, size, self._kept)
        self._under_way[upload] = tenant
        if (tenant, signature) not in self._uploads:
            self._uploads[tenant, signature] = upload
        # Else another client brings the same: neither waits for the other.
        return upload

    def _make_room(self, tenant: str, size: int, most: int) -> None:
        """For one more upload of this size; those that only wait for their rest give way."""
        while (reason := self._hinders(tenant, size, most)) is not None:
            text, own = reason
            waiting = next((one for one in self._timers if not own or self._under_way[one] == tenant), None)
            if waiting is None:
                raise ResourceExhausted(text, reason="load", retry_after=1)
            self._end(waiting)

    def _hinders(self, tenant: str, size: int, most: int) -> tuple[str, bool] | None:
        """Why an upload of this size has to wait now, and whether for others of the same tenant."""
        own = self._of(tenant)
        if sum(on_disk(upload.size) for upload in own) + on_disk(size) > most:
            return f"with what is on its way, this caller's contents are more than {most:,} bytes", True
        if len(own) >= UPLOADS or len(self._under_way) >= ALL_UPLOADS:
            return "too many contents are on their way to this server", len(own) >= UPLOADS
        return None

    def _of(self, tenant: str) -> list[Upload]:
        """What a tenant is sending."""
        return [upload for upload, other in self._under_way.items() if other == tenant]

    async def _quota(self, tenant: str) -> int:
        held = await cache()
        with _unusable():
            return quota(tenant, await held.limit())

    async def _remember(self, tenant: str, signature: str, row: Row) -> None:
        """Have a content count for a tenant. What has to make way is removed, unless another tenant has it, or brings it."""
        most = await self._quota(tenant) - sum(on_disk(upload.place) for upload in self._of(tenant))
        gone = await self._blocking(lambda grants: grants.add(tenant, signature, row, most))
        brought = {upload.signature for upload in self._under_way}
        for one in gone:
            if one not in brought:
                await (await cache()).remove(one)

    def _leave(self, upload: Upload) -> None:
        """Wait for the rest, for a while."""
        tenant = self._under_way.get(upload)
        if tenant is None:  # the server has ended
            return
        if self._uploads.get((tenant, upload.signature)) is upload:
            self._timers[upload] = asyncio.get_running_loop().call_later(PATIENCE, self._end, upload)
        else:
            self._end(upload)

    def _end(self, upload: Upload) -> None:
        """Forget it, and have what is not kept of it removed."""
        self._cancel_timer(upload)
        tenant = self._under_way.pop(upload, None)
        if tenant is None:  # has been done
            return
        if self._uploads.get((tenant, upload.signature)) is upload:
            del self._uploads[tenant, upload.signature]
        ending = asyncio.get_running_loop().create_task(upload.aclose())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _cancel_timer(self, upload: Upload) -> None:
        timer = self._timers.pop(upload, None)
        if timer is not None:
            timer.cancel()

    async def _ref(self, tenant: str, signature: str, name: str = EMBEDDED) -> str:
        return str(StoreRef(name, signature, await self._blocking(lambda grants: grants.give(tenant, signature))))

    async def _blocking(self, work: Callable[[Grants], T]) -> T:
        if self._grants is None:
            self._grants = Grants((await cache()).folder)
        grants = self._grants
        return await asyncio.to_thread(_working, work, grants)


def _working(work: Callable[[Grants], T], grants: Grants) -> T:
    with _unusable():
        try:
            return work(grants)
        except XooaiError:  # some of which are an OSError too
            raise
        except OSError as error:
            raise told(error, "the cache") from error


@contextmanager
def _unusable() -> Generator[None, None, None]:
    """Tell the log what is wrong with the cache here, and callers no more than that: they send contents inline then."""
    try:
        yield
    except (DataLoss, ResourceExhausted):
        raise
    except (FailedPrecondition, PermissionDenied, Unavailable) as error:
        if isinstance(error, Ended):
            raise
        _log.warning("no contents can be kept for callers: %s", error)
        raise Unimplemented("this server cannot keep contents now") from error


class _Kept:
    """A content that is in the cache, or nowhere."""

    def __init__(self, signature: str, size: int | None) -> None:
        self.signature, self.size = signature, size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and (self.signature, self.size) == (other.signature, other.size)

    def __hash__(self) -> int:
        return hash(self.signature)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        raise _missing(self.signature)
        yield b""


def _missing(signature: str) -> NotFound:
    return NotFound(
        f"this server has no {signature} for this caller: it was not sent, or was removed since; send it anew"
    )
