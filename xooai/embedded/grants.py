"""Who may read what: a signature names a content, and permits nothing.

    server/secret                  what grants are signed with, for all servers at this cache
    server/tenants, server/held    what each tenant has: `xooai.embedded.rows`

A tenant stands there as a code of its name, which nobody reads back. All functions block.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress

from xooai.cache.folder import Folder
from xooai.embedded.rows import Row, Rows
from xooai.errors import PermissionDenied
from xooai.signature import check

__all__ = ["LIFE", "SKEW", "Ended", "Grants"]

LIFE = 24 * 3600.0  # seconds that a grant holds: whoever got a reply reads it on the same day
SKEW = 60.0  # seconds by which the clocks of two servers at one cache may differ
_BYTES = 32


class Ended(PermissionDenied):
    """A grant held once, and holds no more."""


class Grants:
    """What tenants may read at one cache."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._place = os.path.join(folder.root, "server")
        self._rows = Rows(folder, self._place)
        self._secret = b""

    def give(self, tenant: str, signature: str) -> str:
        """A grant for a tenant to read a content, as text."""
        return self._signed(tenant, signature, int(time.time() + LIFE))

    def permits(self, tenant: str, signature: str, grant: str) -> bool:
        """Whether a tenant may read a content: it has sent it, or holds a grant; PermissionDenied for one that has ended."""
        row = self._rows.find(self._code(tenant), check(signature)[1])
        if row is not None and row.is_sent:
            return True
        return bool(grant) and self._is_granted(tenant, signature, grant)

    def add(self, tenant: str, signature: str, row: Row, most: int) -> list[str]:
        """Remember that a tenant has sent a content, or that one was made for it. All that it has may be `most` bytes together:
        what came first makes way. Return the signatures of those contents that nobody has any more.
        """
        algorithm, digest = check(signature)
        return [f"{algorithm}:{gone}" for gone in self._rows.add(self._code(tenant), digest, row, most)]

    def remove(self, tenant: str, signature: str) -> None:
        """Forget it."""
        self._rows.remove(self._code(tenant), check(signature)[1])

    def _is_granted(self, tenant: str, signature: str, grant: str) -> bool:
        ends, _, _ = grant.partition(".")
        if not (grant.isascii() and ends.isdecimal()) or len(ends) > 12:
            return False
        if not hmac.compare_digest(grant, self._signed(tenant, signature, int(ends))):
            return False
        if int(ends) + SKEW < time.time():
            raise Ended("the grant in this ref has ended; ask for the content anew")
        return True

    def _signed(self, tenant: str, signature: str, ends: int) -> str:
        text = f"{tenant}\0{signature}\0{ends}".encode()
        return f"{ends}.{hmac.new(self._key(), text, hashlib.sha256).hexdigest()}"

    def _code(self, tenant: str) -> str:
        return hmac.new(self._key(), b"tenant\0" + tenant.encode(), hashlib.sha256).hexdigest()[:32]

    def _key(self) -> bytes:
        """The secret: whichever process was first has made it."""
        if not self._secret:
            path = os.path.join(self._place, "secret")
            found = self._read(path)
            if len(found) != _BYTES:
                self._folder.make()
                draft = f"{path}.{secrets.token_hex(8)}"
                fd = self._folder.file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                try:
                    os.write(fd, secrets.token_bytes(_BYTES))
                    os.fsync(fd)
                finally:
                    os.close(fd)
                try:
                    if found:  # left by a crash, and no secret
                        os.replace(draft, path)
                    else:
                        with suppress(FileExistsError):
                            os.link(draft, path)
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(draft)
                found = self._read(path)
            self._secret = found
        return self._secret

    def _read(self, path: str) -> bytes:
        try:
            fd = self._folder.file(path, os.O_RDONLY)
        except FileNotFoundError:
            return b""
        try:
            return os.read(fd, _BYTES + 1)
        finally:
            os.close(fd)
