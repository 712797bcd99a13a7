"""Object stores, by the engine obstore: S3, GCS, Azure and what speaks as they do; for reading also web servers."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError

from xooai.content import check_range, key_of, verified
from xooai.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from xooai.store import CHUNK, Content, Entry, Store
from xooai_fsspec.failures import ENGINE, failing, knows_no_conditions
from xooai_fsspec.places import Place
from xooai_fsspec.upload import Abandoned, Upload

__all__ = ["KEY", "Objects", "Reading"]

PART = 5 * 1024 * 1024  # bytes of a part: S3 takes no less; a content of up to one part goes in one request
PARTS = 10_000  # in an upload: S3's limit
AT_ONCE = (
    6  # parts under way, in memory, for a content; fewer where uploads are side by side, or parts larger than PART
)
COPIED = 5 * 1024**3  # bytes that S3 copies in one request; the engine knows no other
LONGEST = 7 * 24 * 3600.0  # seconds for which S3 and GCS presign
_used_by: dict[str, int] = {}
KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/([0-9a-f]{64})")
"""A content's key, below the prefix."""


class Reading:
    """What an engine gives: contents, and their sizes."""

    def __init__(
        self, engine: Any, url: str, name: str, prefix: str = "", secrets: frozenset[str] = frozenset()
    ) -> None:
        self.name, self.url = name, url
        self._open_engine, self._prefix, self._secrets = engine, prefix, secrets

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        key = self._key(signature)
        check_range(start, end)
        if start == end:  # which engines refuse
            await self._size_of(signature)
            return
        with failing(self.name, self._secrets, signature):
            try:
                found = await obstore.get_async(self._engine, key, options=_options(start, end))
            except ENGINE:
                if (start or end is not None) and start >= await self._size_of(signature):
                    return  # servers refuse a range beyond the end
                raise
            async for chunk in found.stream(min_chunk_size=CHUNK):
                whole = memoryview(chunk)
                for place in range(0, len(whole), CHUNK):
                    yield bytes(whole[place : place + CHUNK])

    async def size(self, signature: str) -> int | None:
        key = self._key(signature)
        try:
            with failing(self.name, self._secrets, signature):
                return int((await obstore.head_async(self._engine, key))["size"])
        except NotFound:
            return None

    async def aclose(self) -> None:
        """Its connections are closed when the last call on them has ended."""
        self._open_engine = None

    @property
    def _engine(self) -> Any:
        if self._open_engine is None:
            raise Unavailable(f"the store {self.name!r} has been closed")
        _check_process(self.name)
        return self._open_engine

    def _key(self, signature: str) -> str:
        return self._prefix + key_of(signature)

    async def _size_of(self, signature: str) -> int:
        size = await self.size(signature)
        if size is None:
            raise NotFound(f"the store {self.name!r} has no {signature}")
        return size


class Objects(Reading):
    """A bucket, or what is below a prefix in one. What is put is durable in any case."""

    def __init__(self, place: Place, name: str = "") -> None:
        super().__init__(place.engine, place.url, name or place.scheme, place.prefix, place.secrets)
        self._open_writer = place.writer
        self._uploads: set[Upload] = set()

    async def put(self, content: Content, *, durable: bool = False) -> None:
        key = self._key(content.signature)
        if await self._is_stored(content):
            return
        if content.size <= PART:
            async with aclosing(verified(content)) as chunks:
                data = b"".join([chunk async for chunk in chunks])
            await self._stored(content, self._create(content, key, data))
        else:
            await self._upload(content, key)

    async def delete(self, signature: str) -> None:
        key = self._key(signature)
        with suppress(NotFound), failing(self.name, self._secrets, signature):
            await obstore.delete_async(self._engine, key)

    async def entries(self) -> AsyncGenerator[Entry, None]:
        with failing(self.name, self._secrets):
            async for some in obstore.list(self._engine, prefix=self._prefix.rstrip("/") or None, chunk_size=1000):
                for found in some:
                    if fits := KEY.fullmatch(found["path"].removeprefix(self._prefix)):
                        yield Entry(f"sha256:{fits[1]}", found["size"], found["last_modified"].timestamp())

    async def presign(self, signature: str, seconds: float) -> str:
        key = self._key(signature)
        if not 0 < seconds <= LONGEST:
            raise InvalidArgument(f"no URL is good for {seconds:g} seconds; it is more than 0 and at most {LONGEST:g}")
        with failing(self.name, self._secrets, signature):
            return str(await obstore.sign_async(self._engine, "GET", key, timedelta(seconds=seconds)))

    async def copy_from(self, other: Store, signature: str) -> bool:
        key = self._key(signature)
        if not isinstance(other, Objects) or other._engine != self._engine:  # another bucket, or other credentials
            return False
        size = await other._size_of(signature)
        if other._prefix == self._prefix or await self.size(signature) == size:
            return True
        if size > COPIED:
            return False
        with failing(self.name, self._secrets, signature):
            await obstore.copy_async(self._writer, other._key(signature), key)
        return True

    async def aclose(self) -> None:
        """End uploads that are under way, and wait until they have removed their parts."""
        while self._uploads:
            for upload in self._uploads:
                upload.abandon()
            await asyncio.wait([upload.task for upload in self._uploads])
        self._open_writer = None
        await super().aclose()

    @property
    def _writer(self) -> Any:
        return self._open_writer if self._engine is not None else None

    async def _is_stored(self, content: Content) -> bool:
        """Whether an object of its size has its key: one of another size is none of ours, and is replaced."""
        try:
            return await self.size(content.signature) == content.size
        except (
            PermissionDenied
        ):  # what S3 answers for what is not there to who may not list; the put tells if it may not either
            return False

    async def _create(self, content: Content, key: str, data: bytes) -> None:
        try:
            await obstore.put_async(self._writer, key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            # By somebody who was faster. Or there is another object; or two put at once, and S3 answers 409 and has neither.
            if await self._is_stored(content):
                return
        except ENGINE as error:
            if not knows_no_conditions(error):
                raise
        else:
            return
        await obstore.put_async(self._writer, key, data, use_multipart=False)

    async def _upload(self, content: Content, key: str) -> None:
        part = max(PART, -(-content.size // PARTS))
        at_once = max(1, min(AT_ONCE // (len(self._uploads) + 1), AT_ONCE * PART // part))
        upload = Upload(
            lambda chunks: obstore.put_async(
                self._writer, key, chunks, use_multipart=True, chunk_size=part, max_concurrency=at_once
            )
        )
        self._uploads.add(upload)
        upload.task.add_done_callback(lambda _: self._uploads.discard(upload))
        try:
            async with aclosing(verified(content)) as chunks:
                async for chunk in chunks:
                    if not await upload.put(chunk):
                        break
            await self._stored(content, upload.end())
        except Abandoned:
            raise Unavailable(f"the store {self.name!r} has been closed") from None
        except BaseException:
            upload.abandon()
            raise

    async def _stored(self, content: Content, sending: Awaitable[None]) -> None:
        """Wait for what sends. When it fails, what it sent may be there all the same: an answer got lost, or another put it."""
        with failing(self.name, self._secrets):
            try:
                await sending
            except ENGINE:
                if not await self._is_stored(content):
                    raise


def _check_process(store: str) -> None:
    """The engine's threads are gone in the child of a fork, and it waits for them without end."""
    _used_by.setdefault("process", os.getpid())
    if _used_by["process"] != os.getpid():
        raise Unavailable(
            f"the store {store!r} cannot be used here: this process was forked from one that has used such stores; "
            "start it anew (multiprocessing's 'spawn'), or fork before the first use"
        )


def _options(start: int, end: int | None) -> Any:
    if end is not None:
        return {"range": (start, end)}
    return {"range": {"offset": start}} if start else None
