"""What each tenant has at one cache: a small file for each content, and how much that is together.

    tenants/<t>/<digest>    that a tenant has a content: its size, and "made" where it was made for the tenant and not sent
    held/<t>                bytes and contents of all of these; locked by who changes them

Processes share them. All rows of a tenant are looked at where the count is missing, and when some have to go. All of it blocks.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from xooai.cache.folder import Folder, given_limit
from xooai.cache.room import LOW, Held, on_disk

if sys.platform != "win32":  # where there are no directories as stores, thus no cache
    import fcntl

__all__ = ["LIMIT", "ROWS", "Row", "Rows", "quota"]

LIMIT = "XOOAI_TENANT_LIMIT"
"""The environment variable that says how many bytes one tenant's contents may have together, as 5GiB."""
SHARE = 2  # at most this part of the cache: no tenant can push out what all the others have

ROWS = 10_000  # contents that one tenant has at once: what came first is forgotten first, and may be sent anew
PATIENCE = 5.0  # seconds for a lock: who has it looks at 10,000 small files at most
AGAIN = 0.005  # seconds between two attempts
_LONGEST = 40  # bytes of a row


def quota(tenant: str, limit: int) -> int:
    """How many bytes the contents of one tenant may have together in a cache that holds `limit`. Raises InvalidArgument.

    Callers without a certificate ("") may have all: where a server asks for certificates, there are none of these.
    """
    given = given_limit(LIMIT)
    if given is not None:
        return min(given, limit)
    return limit // SHARE if tenant else limit


class Row(NamedTuple):
    """A content of a tenant; `is_sent` where the tenant has sent all its bytes: then no more is needed to read it."""

    size: int
    is_sent: bool


class Rows:
    """Of all tenants at one cache; `root` is their folder."""

    def __init__(self, folder: Folder, root: str) -> None:
        self._folder = folder
        self._tenants, self._held = os.path.join(root, "tenants"), os.path.join(root, "held")

    def find(self, tenant: str, digest: str) -> Row | None:
        """What a tenant has of a content."""
        try:
            fd = self._folder.file(self._path(tenant, digest), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return _row(os.read(fd, _LONGEST))
        finally:
            os.close(fd)

    def add(self, tenant: str, digest: str, row: Row, most: int) -> list[str]:
        """Remember that a tenant has a content. Where all that it has is more than `most` bytes, what came first makes way.
        Return the digests of those that no tenant has any more.
        """
        with self._counted(tenant) as count:
            before, held = self.find(tenant, digest), _read(count)
            if held is not None:
                more = on_disk(row.size) - (on_disk(before.size) if before is not None else 0)
                held = Held(held.size + more, held.number + (before is None))
                _write(count, held)  # who dies here leaves a count that is too high: then all are looked at sooner
            self._write(tenant, digest, before, Row(row.size, row.is_sent or (before is not None and before.is_sent)))
            gone: list[str] = []
            if held is None or held.size > most or held.number > ROWS:
                held, gone = self._bound(tenant, digest, most)
                _write(count, held)
        return [one for one in gone if not self._has_any(one)]

    def remove(self, tenant: str, digest: str) -> None:
        """Forget a content of a tenant."""
        with self._counted(tenant) as count:
            row, held = self.find(tenant, digest), _read(count)
            with suppress(OSError):
                os.unlink(self._path(tenant, digest))
                if row is not None and held is not None:
                    _write(count, Held(held.size - on_disk(row.size), held.number - 1))

    def _write(self, tenant: str, digest: str, before: Row | None, row: Row) -> None:
        """Write a row, as the newest. Who reads one that is there finds it as it was or as it is: it is not emptied first."""
        path = self._path(tenant, digest)
        if row == before:
            os.utime(path)
            return
        draft = path if before is None else os.path.join(self._held, f"{tenant}.{secrets.token_hex(8)}")
        fd = self._folder.file(draft, os.O_WRONLY | os.O_CREAT)
        try:
            os.write(fd, b"%d%s\n" % (row.size, b"" if row.is_sent else b" made"))
        finally:
            os.close(fd)
        if draft != path:
            os.replace(draft, path)

    def _bound(self, tenant: str, newest: str, most: int) -> tuple[Held, list[str]]:
        """Remove the oldest rows, as many as have to go. Where they are small, some more go: to look at all of them then serves
        for an eighth of them, and not for one.
        """
        found: list[tuple[float, str, int]] = []
        with os.scandir(os.path.join(self._tenants, tenant)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # where there are no locks
                    row = self.find(tenant, entry.name) or Row(0, False)
                    found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name, on_disk(row.size)))
        size, number, gone = sum(size for *_, size in found), len(found), list[str]()
        has_to = size > most or number > ROWS
        for _, digest, its in sorted(found):
            if not has_to or not (size > most or number > ROWS * LOW or size - its >= most * LOW):
                break
            if digest != newest:
                with suppress(FileNotFoundError):
                    os.unlink(self._path(tenant, digest))
                size, number = size - its, number - 1
                gone.append(digest)
        return Held(size, number), gone

    def _has_any(self, digest: str) -> bool:
        """Whether any tenant has a content."""
        return any(os.path.lexists(self._path(tenant, digest)) for tenant in os.listdir(self._tenants))

    def _path(self, tenant: str, digest: str) -> str:
        return os.path.join(self._tenants, tenant, digest)

    @contextmanager
    def _counted(self, tenant: str) -> Generator[int, None, None]:
        """A descriptor of a tenant's count, which nobody else changes. Where the filesystem has no locks, or who has this one was
        stopped, they may: then the count is wrong until some rows have to go.
        """
        fd = self._folder.file(os.path.join(self._held, tenant), os.O_RDWR | os.O_CREAT)
        try:
            _wait_for(fd)
            yield fd
        finally:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)  # a child forked meanwhile has a copy that would keep it
            os.close(fd)


def _wait_for(fd: int) -> None:
    end = time.monotonic() + PATIENCE
    with suppress(OSError):
        while time.monotonic() < end:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(AGAIN)
            else:
                return


def _row(text: bytes) -> Row:
    """A row that a power cut left short permits nothing."""
    size, _, made = text.removesuffix(b"\n").partition(b" ")
    return Row(int(size) if size.isdigit() else 0, text.endswith(b"\n") and size.isdigit() and not made)


def _read(count: int) -> Held | None:
    try:
        size, number = os.pread(count, 100, 0).split()
        return Held(int(size), int(number))
    except ValueError:  # new, or who wrote it died while it did
        return None


def _write(count: int, held: Held) -> None:
    os.ftruncate(count, 0)
    os.pwrite(count, b"%d %d\n" % held, 0)
