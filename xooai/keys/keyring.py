"""The keys that a server knows: asked for each call, read anew when their file has changed."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import NamedTuple

from xooai.driver import AUTHORIZATION
from xooai.errors import PermissionDenied, Unauthenticated, XooaiError
from xooai.keys.file import Entry, Keys, now, read
from xooai.keys.secret import given_in, mac
from xooai.log import logger

__all__ = ["Keyring"]

LOOK = 0.25  # seconds between two looks at the file: a key that is revoked is refused within a second
REMEMBERED = 1024  # keys whose hash was right, so that it is not made for each call
_NOBODY = "0" * 64  # what no hash is: unknown ids take as long as known ones

_log = logger("xooai.keys")
_Stamp = tuple[int, int, int]


class _Held(NamedTuple):
    """What one reading of the file gave: replaced as a whole, so that nothing of it outlives it in another thread."""

    salt: bytes
    keys: Mapping[str, Entry]
    certificates: Mapping[str, Entry]
    right: dict[str, Entry]
    """Keys whose hash was right, by what their callers send."""

    @classmethod
    def of(cls, found: Keys) -> _Held:
        return cls(
            found.salted,
            {entry.id: entry for entry in found.keys if entry.hash},
            {entry.certificate: entry for entry in found.keys if entry.certificate},
            {},
        )


class Keyring:
    """The entries of one file. Used from any thread."""

    def __init__(self, path: str | Path) -> None:
        """Raises InvalidArgument and PermissionDenied for a file that cannot be used."""
        self._path = Path(path)
        self._stamp: _Stamp | None = self._now()
        self._held = _Held.of(read(self._path))
        self._looked = monotonic()
        self._looking = Lock()
        self._told: _Stamp | str | None = "nothing yet"

    def admit(self, path: str, metadata: Mapping[str, str], certificate: str = "") -> str:
        """Whose call to `/{executor}/{endpoint}` it is: the tenant. Raises Unauthenticated and PermissionDenied."""
        return self.entry(path, metadata, certificate).tenant

    def entry(self, path: str, metadata: Mapping[str, str], certificate: str = "") -> Entry:
        """What lets a call in. Raises as `admit` does. A key counts before a certificate."""
        if monotonic() - self._looked > LOOK and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        authorization = metadata.get(AUTHORIZATION)
        if authorization is not None:
            entry = _of_key(self._held, authorization)
        elif certificate:
            entry = _of_certificate(self._held, certificate)
        else:
            raise Unauthenticated("this server asks for a key; send it as the header 'Authorization: Bearer xo_...'")
        if not entry.allows(path):
            raise PermissionDenied(
                f"the {'key' if entry.hash else 'certificate'} {entry.id} may not call {path.removeprefix('/')[:200]!r}"
            )
        return entry

    def look(self) -> None:
        """Look at the file now, whenever that was done last. Raises nothing."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        """Read the file again if it has changed; one that cannot be read changes nothing, is told of, and tried again."""
        self._looked = monotonic()
        stamp = self._now()
        if stamp == self._stamp:
            return
        try:
            self._held = _Held.of(read(self._path))
        except XooaiError as error:
            if stamp != self._told:
                self._told = stamp
                _log.error("the keys stay as they are: %s", error.message)
            return
        self._stamp, self._told = stamp, "nothing yet"

    def _now(self) -> _Stamp | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _of_key(held: _Held, authorization: str) -> Entry:
    entry = held.right.get(authorization)
    if entry is None:
        given = given_in(authorization)
        if given is not None:
            found = held.keys.get(given.id)
            is_right = hmac.compare_digest(mac(given, held.salt), _NOBODY if found is None else found.hash)
            if found is not None and is_right:
                entry = found
                if len(held.right) >= REMEMBERED:
                    held.right.clear()
                held.right[authorization] = entry
    if entry is None or entry.ended(now()):
        raise Unauthenticated("the key is not known here, or its time is over")
    return entry


def _of_certificate(held: _Held, name: str) -> Entry:
    entry = held.certificates.get(name)
    if entry is None or entry.ended(now()):
        raise Unauthenticated("the certificate is that of nobody who is known here; a key may be sent instead")
    return entry
