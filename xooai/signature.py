"""What a content's signature is: `<algorithm>:<hex>`, made from bytes or a file, checked, compared."""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO

from xooai.errors import DataLoss, InvalidArgument

__all__ = ["ALGORITHMS", "CHUNK", "Hasher", "check", "sign", "sign_file", "verify"]

# All with digests of 256 bits, as the pattern says; a name stands here once hashlib of every Python that we support has it.
ALGORITHMS = frozenset({"sha256"})
CHUNK = 1024 * 1024  # bytes read at once: large enough that the calls cost nothing beside the hashing, small in memory

_LONGEST = 100  # characters of a wrong signature in a text: more than a right one has
_SIGNATURE = re.compile(r"([a-z0-9]+):([0-9a-f]{64})")


def check(signature: str) -> tuple[str, str]:
    """Return algorithm and hex digest; InvalidArgument when it is no signature or its algorithm is not known."""
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        given = f"{signature[:_LONGEST]!r}"
        raise InvalidArgument(
            f"{given} is no signature; it is '<algorithm>:' and 64 lower-case hex digits, as 'sha256:0f...'"
        )
    algorithm, digest = found.groups()
    _known(algorithm)
    return algorithm, digest


def sign(data: bytes | memoryview, algorithm: str = "sha256") -> str:
    """Return the signature of `data`."""
    hasher = Hasher(algorithm)
    hasher.update(data)
    return hasher.signature


def sign_file(file: BinaryIO, algorithm: str = "sha256") -> tuple[str, int]:
    """Return signature and size of what is left to read in `file`, which is never in memory as a whole."""
    hasher = Hasher(algorithm)
    while chunk := file.read(CHUNK):
        hasher.update(chunk)
    return hasher.signature, hasher.size


def verify(data: bytes | memoryview, signature: str) -> None:
    """Raise DataLoss when `data` is not what `signature` was made from."""
    algorithm, _ = check(signature)
    found = sign(data, algorithm)
    if found != signature:
        raise DataLoss(f"the content is {found}, it should be {signature}")


class Hasher:
    """A signature in the making, fed piece by piece."""

    __slots__ = ("_digest", "algorithm", "size")

    def __init__(self, algorithm: str = "sha256") -> None:
        _known(algorithm)
        self.algorithm = algorithm
        self.size = 0
        self._digest = hashlib.new(algorithm)

    def update(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self.size += len(data) if isinstance(data, bytes) else memoryview(data).nbytes

    @property
    def signature(self) -> str:
        """The signature of all that was fed so far."""
        return f"{self.algorithm}:{self._digest.hexdigest()}"


def _known(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        raise InvalidArgument(f"unknown algorithm {algorithm!r}; there are: {', '.join(sorted(ALGORITHMS))}")
