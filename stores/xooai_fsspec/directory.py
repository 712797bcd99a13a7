"""A directory as a store: each content a file, written under another name first, and never changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, BinaryIO

from xooai.content import Verifier, check_range, file_chunks, key_of
from xooai.errors import InvalidArgument
from xooai.signature import Hasher
from xooai.store import ABANDONED, Content, Entry, OnDisk, StoreOptions
from xooai_fsspec.draft import Draft
from xooai_fsspec.told import told
from xooai_fsspec.tree import Tree

__all__ = ["Directory", "open_directory"]

BATCH = 1024 * 1024  # bytes gathered for a thread: what it costs to go there is little beside hashing as much
LISTED = 1000  # entries fetched while a thread is at it


class Directory:
    """Contents below a directory, which is made by the first put. Of `Store` and all abilities but presigning and copying.

    Safe for many threads and processes. Without `durable`, a power cut may take back what was put lately, or leave it short:
    who reads it sees that by its signature, and the next put that is `durable` replaces it, or any where its size is wrong.
    """

    def __init__(self, root: str, name: str = "") -> None:
        self.name = name or "file"
        self.url = f"file://{root}"
        self._tree = Tree(root)
        self._leaving: set[asyncio.Future[None]] = set()

    async def put(self, content: Content, *, durable: bool = False) -> None:
        key = key_of(content.signature)
        with told(self.name):
            if await asyncio.to_thread(self._has, key, content.size, durable):
                return
        verifier = Verifier(content)
        draft = Draft(self._tree, verifier)
        source: BinaryIO | None = None
        try:
            if isinstance(content, OnDisk):
                source = await _opened(content.open)
                await self._copy(source, draft)
                source.close()
            else:
                await self._stream(content, draft)
            verifier.end()
            with told(self.name):
                await asyncio.to_thread(draft.publish, content.signature, content.size, durable=durable)
        except BaseException:
            self._abandon(draft, source)
            raise

    async def take(self, file: BinaryIO, *, durable: bool = False) -> tuple[str, int]:
        hasher = Hasher()
        draft = Draft(self._tree, hasher)
        try:
            await self._copy(file, draft)
            with told(self.name):
                await asyncio.to_thread(draft.publish, hasher.signature, hasher.size, durable=durable)
        except BaseException:
            self._abandon(draft)
            raise
        return hasher.signature, hasher.size

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        key = key_of(signature)
        check_range(start, end)
        with told(self.name, signature):
            async with aclosing(file_chunks(lambda: self._tree.open(key), start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def open(self, signature: str) -> BinaryIO:
        key = key_of(signature)
        with told(self.name, signature):
            return await _opened(lambda: os.fdopen(self._tree.open(key), "rb"))

    async def size(self, signature: str) -> int | None:
        key = key_of(signature)
        with told(self.name, signature):
            return await asyncio.to_thread(self._tree.size, key)

    async def delete(self, signature: str) -> None:
        key = key_of(signature)
        with told(self.name, signature):
            await asyncio.to_thread(self._tree.remove, key)

    async def entries(self) -> AsyncGenerator[Entry, None]:
        listing = self._tree.listing()

        def some() -> list[Entry]:
            found = [found for _, found in zip(range(LISTED), listing, strict=False)]
            return [Entry(f"sha256:{digest}", size, modified) for digest, size, modified in found]

        with told(self.name):
            while entries := await asyncio.to_thread(some):
                for entry in entries:
                    yield entry

    async def sweep(self, older: float = ABANDONED) -> int:
        with told(self.name):
            return await asyncio.to_thread(self._tree.sweep, older)

    async def aclose(self) -> None:
        """Wait until what was abandoned is removed."""
        while self._leaving:
            await asyncio.wait(self._leaving)

    def _has(self, key: str, size: int, durable: bool) -> bool:
        is_there = self._tree.has(key, size, is_read=durable)
        if is_there and durable:  # it may have been put by somebody who did not wait
            self._tree.sync(key)
        return is_there

    async def _copy(self, file: BinaryIO, draft: Draft) -> None:
        """Copy a file; where nobody waits for that any more, its thread has left the file all the same when this ends."""
        with told(self.name):
            is_more = True
            while is_more:
                copying = asyncio.get_running_loop().run_in_executor(None, draft.copy, file)
                copying.add_done_callback(_seen)
                try:
                    is_more = await asyncio.shield(copying)
                except asyncio.CancelledError:
                    draft.is_abandoned = True
                    await asyncio.wait([copying])
                    raise

    async def _stream(self, content: Content, draft: Draft) -> None:
        """Write one batch while the next one is gathered."""
        writing: asyncio.Future[None] | None = None
        async with aclosing(_batches(content)) as batches:
            async for batch in batches:
                if writing is not None:
                    with told(self.name):
                        await writing
                writing = asyncio.get_running_loop().run_in_executor(None, draft.write, batch)
                writing.add_done_callback(_seen)
        if writing is not None:
            with told(self.name):
                await writing

    def _abandon(self, draft: Draft, source: BinaryIO | None = None) -> None:
        """Have what was written removed, by a thread: nobody waits for it but `aclose`."""
        draft.is_abandoned = True
        leaving = asyncio.get_running_loop().run_in_executor(None, draft.abandon, source)
        self._leaving.add(leaving)
        leaving.add_done_callback(_seen)
        leaving.add_done_callback(self._leaving.discard)


def open_directory(url: str, options: StoreOptions) -> Directory:
    """The store at `file:///path` or a path: '~' is the home, all else is taken literally. Raises InvalidArgument."""
    path = url.partition("://")[2] if url.lower().startswith("file://") else url
    if not path or "\0" in path or (path is not url and not path.startswith(("/", "~"))):
        raise InvalidArgument(f"{url!r} names no directory; it is written file:///path")
    if options.storage_options:
        unknown = ", ".join(sorted(options.storage_options))
        raise InvalidArgument(f"unknown storage_options for a directory: {unknown}; it has none")
    if os.open not in os.supports_dir_fd:
        raise InvalidArgument("a directory as a store needs a POSIX system")
    return Directory(os.path.abspath(os.path.expanduser(path)), options.name)


async def _opened(opening: Callable[[], BinaryIO]) -> BinaryIO:
    """A file that a thread opens; closed where nobody waits for it any more."""
    file = asyncio.get_running_loop().run_in_executor(None, opening)
    try:
        return await asyncio.shield(file)
    except asyncio.CancelledError:
        file.add_done_callback(_closed)
        raise


def _closed(file: asyncio.Future[BinaryIO]) -> None:
    if not file.cancelled() and file.exception() is None:
        file.result().close()


async def _batches(content: Content) -> AsyncGenerator[list[bytes], None]:
    batch: list[bytes] = []
    size = 0
    async with aclosing(content.read()) as chunks:
        async for chunk in chunks:
            if chunk:
                batch.append(chunk)
            size += len(chunk)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _seen(future: asyncio.Future[Any]) -> None:
    """Nobody asks for it where something else has failed: a batch while the next one is gathered, or what is abandoned."""
    if not future.cancelled():
        future.exception()
