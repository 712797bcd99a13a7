"""The folder of a server's sockets: locked as long as its supervisor lives, so that a later one removes what is left."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform != "win32":
    import fcntl

__all__ = ["own_folder"]

_PREFIX = "xooai-workers-"
_HELD = "held"  # a file in it that is locked, from before it has this name on: one without belongs to who makes it


@contextmanager
def own_folder() -> Iterator[str]:
    """A new folder that only this user may enter, and what is in it goes with the block. Raises OSError."""
    _sweep(tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    held = -1
    try:
        held = _hold(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held >= 0:
            os.close(held)


def _hold(folder: str) -> int:
    """Lock the folder for this process; it ends with it, whatever ends it. Its workers do not have the descriptor."""
    made = os.path.join(folder, "new")
    descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.rename(made, os.path.join(folder, _HELD))
    return descriptor


def _sweep(place: str) -> None:
    """Remove the folders of supervisors of this user that are gone. What is in the way of it is left where it is."""
    if sys.platform == "win32":
        return
    with suppress(OSError), os.scandir(place) as found:
        for entry in found:
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _sweep_one(entry)


def _sweep_one(entry: os.DirEntry[str]) -> None:
    if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return
    descriptor = os.open(os.path.join(entry.path, _HELD), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError where its supervisor lives
            shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(descriptor)
