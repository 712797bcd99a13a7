"""sqlite:///path: a store of one's own, in a database file. A package brings it; docs/how-to/store.md tells how."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from typing import IO, Any

from xooai.content import check_range, key_of, verified
from xooai.errors import NotFound, ResourceExhausted, Unavailable
from xooai.plugins import hookimpl
from xooai.store import CHUNK, Content, Opener, StoreOptions


class SqliteStore:
    """Contents as rows. SQLite writes them as a whole or not at all, and always waits for the disk."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        self.name, self.url, self._path = options.name or "sqlite", url, url.removeprefix("sqlite://")

    async def put(self, content: Content, *, durable: bool = False) -> None:
        if await self._run(_chunk, key_of(content.signature), 0, 0) is not None:
            return
        with tempfile.SpooledTemporaryFile(CHUNK) as file:
            async with aclosing(verified(content)) as chunks:  # raises DataLoss at its end, before anything is stored
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            file.seek(0)
            await self._run(_insert, key_of(content.signature), content.size, file)

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        check_range(start, end)
        while (chunk := await self._run(_chunk, key_of(signature), start, end)) != b"":
            if chunk is None:
                raise NotFound(f"the store {self.name!r} has no {signature}")
            yield chunk
            start += len(chunk)

    async def aclose(self) -> None:
        """Nothing to let go of: each statement has a connection of its own."""

    async def _run(self, work: Callable[..., Any], *values: Any) -> Any:
        try:
            return await asyncio.to_thread(self._in_database, work, values)
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise ResourceExhausted(f"the store {self.name!r} is full", reason="storage") from error
            raise Unavailable(f"the store {self.name!r} does not work: {error}") from error

    def _in_database(self, work: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS contents (key TEXT PRIMARY KEY, data BLOB)")
            return work(database, *values)


def _insert(database: sqlite3.Connection, key: str, size: int, file: IO[bytes]) -> None:
    cursor = database.execute("INSERT OR IGNORE INTO contents VALUES (?, zeroblob(?))", (key, size))
    if cursor.rowcount == 1:
        with database.blobopen("contents", "data", cursor.lastrowid or 0) as blob:
            shutil.copyfileobj(file, blob, CHUNK)


def _chunk(database: sqlite3.Connection, key: str, start: int, end: int | None) -> bytes | None:
    if (row := database.execute("SELECT rowid FROM contents WHERE key = ?", (key,)).fetchone()) is None:
        return None
    with database.blobopen("contents", "data", row[0], readonly=True) as blob:
        blob.seek(min(start, len(blob)))
        return blob.read(min(CHUNK, max(0, (len(blob) if end is None else end) - start)))


class Databases:
    open = SqliteStore


@hookimpl
def xooai_store(scheme: str) -> Opener | None:
    """The stores of sqlite://."""
    return Databases() if scheme == "sqlite" else None
