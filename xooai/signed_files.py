"""Signatures of files as they were: what was not changed since is not read again only to be signed."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from threading import Lock
from typing import BinaryIO

from xooai.errors import DataLoss
from xooai.signature import sign_file

__all__ = ["learn", "look", "signed", "verify"]

SIGNED = 1024  # files whose signatures are remembered: more than a program sends again and again
SETTLED = 2.0  # seconds since a file was written: filesystems tell of changes within less than that by no time

_known: OrderedDict[tuple[int, ...], str] = OrderedDict()
_lock = Lock()


def look(file: BinaryIO) -> tuple[str | None, int]:
    """The signature of an open file where it is known, and its size."""
    status = os.fstat(file.fileno())
    with _lock:
        found = _known.get(_stamp(status))
        if found is not None:
            _known.move_to_end(_stamp(status))
    return found, status.st_size


def learn(file: BinaryIO, before: os.stat_result, signature: str) -> None:
    """Remember the signature of an open file, if it is what it was `before` it was read."""
    after = os.fstat(file.fileno())
    if _stamp(after) != _stamp(before) or time.time() - max(after.st_mtime, after.st_ctime) < SETTLED:
        return
    with _lock:
        _known[_stamp(after)] = signature
        while len(_known) > SIGNED:
            _known.popitem(last=False)


def signed(file: BinaryIO) -> tuple[str, int]:
    """Signature and size of an open file, which is read as a whole unless that is known. Blocks."""
    found, size = look(file)
    if found is not None:
        return found, size
    before = os.fstat(file.fileno())
    signature, size = sign_file(file)
    learn(file, before, signature)
    return signature, size


def verify(file: BinaryIO, signature: str) -> None:
    """Raise DataLoss for an open file that is not what its signature says; at its beginning again. Blocks."""
    found, _ = signed(file)
    if found != signature:
        raise DataLoss(f"the content is {found}, it should be {signature}")
    file.seek(0)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
