"""The keys that a server knows: asked for each call, read anew when their file has changed."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

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


class Keyring:
    """The entries of one file. Used from any thread."""

    def __init__(self, path: str | Path) -> None:
        """Raises InvalidArgument and PermissionDenied for a file that cannot be used."""
        self._path = Path(path)
        self._stamp: _Stamp | None = self._now()
        self._take(read(self._path))
        self._looked = monotonic()

    def _take(self, found: Keys) -> None:
        self._salt = found.salted
        self._keys = {entry.id: entry for entry in found.keys if entry.hash}
        self._certificates = {entry.certificate: entry for entry in found.keys if entry.certificate}
        self._right: dict[str, Entry] = {}  # by what a caller sends

    def admit(self, path: str, metadata: Mapping[str, str], certificate: str = "") -> str:
        """Whose call to `/{executor}/{endpoint}` it is: the tenant. Raises Unauthenticated and PermissionDenied.

        A key counts before a certificate.
        """
        if monotonic() - self._looked > LOOK:
            self._look()
        authorization = metadata.get(AUTHORIZATION)
        if authorization is not None:
            entry = self._of_key(authorization)
        elif certificate:
            entry = self._of_certificate(certificate)
        else:
            raise Unauthenticated("this server asks for a key; send it as the header 'Authorization: Bearer xo_...'")
        if not entry.allows(path):
            raise PermissionDenied(f"the key {entry.id} may not call {path.removeprefix('/')[:200]!r}")
        return entry.tenant

    def _of_key(self, authorization: str) -> Entry:
        entry = self._right.get(authorization)
        if entry is None:
            given = given_in(authorization)
            found = None if given is None else self._keys.get(given.id)
            if given is not None:
                is_right = hmac.compare_digest(mac(given, self._salt), _NOBODY if found is None else found.hash)
                if found is not None and is_right:
                    entry = found
                    if len(self._right) >= REMEMBERED:
                        self._right.clear()
                    self._right[authorization] = entry
        if entry is None or entry.ended(now()):
            raise Unauthenticated("the key is not known here, or its time is over")
        return entry

    def _of_certificate(self, name: str) -> Entry:
        entry = self._certificates.get(name)
        if entry is None or entry.ended(now()):
            raise Unauthenticated("the certificate is that of nobody who is known here; a key may be sent instead")
        return entry

    def _look(self) -> None:
        """Read the file again if it has changed; one that cannot be read changes nothing, and is told of."""
        self._looked = monotonic()
        stamp = self._now()
        if stamp == self._stamp:
            return
        try:
            self._take(read(self._path))
        except XooaiError as error:
            _log.error("the keys stay as they are: %s", error.message)
        self._stamp = stamp

    def _now(self) -> _Stamp | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
