"""What a key is made of, and what is kept of it: never the secret itself."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from hashlib import sha256
from typing import NamedTuple

from xooai.errors import InvalidArgument

__all__ = ["PEPPER", "Given", "fingerprint", "given_in", "mac", "made", "pepper"]

PEPPER = "XOOAI_KEYS_PEPPER"
"""The environment variable with a secret that goes into what is kept of each key: who has the file alone can test no guess."""

_SECRET = 32  # bytes: 256 bits, which nobody guesses, so that no slow hash is needed
_WRITTEN = re.compile(r"xo_([0-9a-f]{16})_([0-9A-Za-z_-]{43})")
_SHORTEST = 16  # characters of a pepper


class Given(NamedTuple):
    """A key as a caller sends it."""

    id: str
    secret: str


def made() -> tuple[Given, str]:
    """A new key, and the text of it that its holder gets: `xo_`, a public id, `_`, the secret."""
    given = Given(secrets.token_hex(8), secrets.token_urlsafe(_SECRET))
    return given, f"xo_{given.id}_{given.secret}"


def given_in(authorization: str) -> Given | None:
    """The key in `Bearer xo_...` (RFC 6750); None where there is none of that form."""
    scheme, _, text = authorization.partition(" ")
    found = _WRITTEN.fullmatch(text.strip()) if scheme.lower() == "bearer" else None
    return None if found is None else Given(found[1], found[2])


def pepper() -> bytes:
    """The secret of the environment; nothing where none is set. Raises InvalidArgument for one that is guessed too easily."""
    text = os.environ.get(PEPPER, "")
    if text and len(text) < _SHORTEST:
        raise InvalidArgument(f"{PEPPER} has {len(text)} characters; it takes {_SHORTEST} or more")
    return text.encode()


def mac(given: Given, salt: bytes) -> str:
    """What is kept of a key: HMAC-SHA256 of it under the file's salt and the environment's secret."""
    return hmac.new(salt + pepper(), f"{given.id}:{given.secret}".encode(), sha256).hexdigest()


def fingerprint(salt: bytes) -> str:
    """By which a file tells whether it is read with the secret that it was written with."""
    return hmac.new(salt + pepper(), b"xooai keys", sha256).hexdigest()
