"""sqlite:///path: a store of one's own, in a database file. A package brings it; docs/how-to/store.md tells how."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from typing import IO, Any

from xooai.content import check_range, key_of, verified
from xooai.errors import NotFound, ResourceExhausted, Unavailable
from xooai.plugins import hookimpl
from xooai.store import CHUNK, Content, Opener, StoreOptions

INSERT = "INSERT OR IGNORE INTO contents VALUES (?, zeroblob(?))"
READ = "SELECT substr(data, ?, ?) FROM contents WHERE key = ?"  # substr counts from 1


class SqliteStore:
    """Contents as rows. SQLite writes them as a whole or not at all, and always waits for the disk."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        self.name, self.url, self._path = options.name or "sqlite", url, url.removeprefix("sqlite://")

    async def put(self, content: Content, *, durable: bool = False) -> None:
        if await self._run("SELECT 1 FROM contents WHERE key = ?", key_of(content.signature)):
            return
        with tempfile.SpooledTemporaryFile(CHUNK) as file:
            async with aclosing(verified(content)) as chunks:  # raises DataLoss at its end, before anything is stored
                async for chunk in chunks:
                    file.write(chunk)
            file.seek(0)
            await self._run(INSERT, key_of(content.signature), content.size, file=file)

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        check_range(start, end)
        while True:
            rows = await self._run(
                READ, start + 1, CHUNK if end is None else min(CHUNK, end - start), key_of(signature)
            )
            if not rows:
                raise NotFound(f"the store {self.name!r} has no {signature}")
            if not rows[0][0]:
                return
            yield rows[0][0]
            start += len(rows[0][0])

    async def aclose(self) -> None:
        """Nothing to let go of: each statement has a connection of its own."""

    async def _run(self, statement: str, *values: Any, file: IO[bytes] | None = None) -> list[Any]:
        try:
            return await asyncio.to_thread(self._execute, statement, values, file)
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise ResourceExhausted(f"the store {self.name!r} is full", reason="storage") from error
            raise Unavailable(f"the store {self.name!r} does not work: {error}") from error

    def _execute(self, statement: str, values: tuple[Any, ...], file: IO[bytes] | None) -> list[Any]:
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS contents (key TEXT PRIMARY KEY, data BLOB)")
            cursor = database.execute(statement, values)
            if file is not None and cursor.rowcount == 1:
                with database.blobopen("contents", "data", cursor.lastrowid or 0) as blob:
                    shutil.copyfileobj(file, blob, CHUNK)
            return cursor.fetchall()


class Databases:
    open = SqliteStore


@hookimpl
def xooai_store(scheme: str) -> Opener | None:
    """The stores of sqlite://."""
    return Databases() if scheme == "sqlite" else None
