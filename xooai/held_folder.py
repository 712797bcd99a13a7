"""Folders among the temporary files that are locked as long as who made them lives, so that others remove what is left."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress

if sys.platform != "win32":
    import fcntl

__all__ = ["made", "swept"]

_HELD = "held"  # a file in it that is locked, from before it has this name on: one without belongs to who makes it


def made(prefix: str) -> tuple[str, int]:
    """A new folder that only this user may enter, and the descriptor whose closing lets go of it. Raises OSError."""
    folder = tempfile.mkdtemp(prefix=prefix)
    try:
        return folder, _hold(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _hold(folder: str) -> int:
    """Lock the folder for this process; it ends with it, whatever ends it. What it starts does not have the descriptor."""
    new = os.path.join(folder, "new")
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.rename(new, os.path.join(folder, _HELD))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def swept(prefix: str) -> None:
    """Remove the folders of this user whose makers are gone. What is in the way of it is left where it is."""
    if sys.platform == "win32":
        return
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as found:
        for entry in found:
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _sweep_one(entry)


def _sweep_one(entry: os.DirEntry[str]) -> None:
    if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return
    descriptor = os.open(os.path.join(entry.path, _HELD), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError where its maker lives
            shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(descriptor)
