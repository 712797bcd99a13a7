"""What processes that died left in a cache: drafts, locks, and marks of contents that are gone. Removed once an hour at most."""

from __future__ import annotations

import asyncio
import os
import time

from xooai.cache.room import Files
from xooai.cache.shelf import Shelf
from xooai.signature import check
from xooai.store import ABANDONED

__all__ = ["HOUR", "sweep", "sweep_when_due"]

HOUR = 3600.0  # seconds between two sweeps, by whichever process comes first


async def sweep_when_due(shelf: Shelf) -> None:
    """Sweep, where nobody has within the hour. Raises Unusable, and what the store below raises."""
    files = await shelf.files()
    if await asyncio.to_thread(_is_due, shelf):
        await sweep(shelf, files)


async def sweep(shelf: Shelf, files: Files) -> None:
    """Remove what was left long ago, and have all counted anew."""
    await files.sweep()
    await asyncio.to_thread(shelf.locks.sweep, ABANDONED)
    used = await asyncio.to_thread(shelf.marks.used)
    here = {check(entry.signature)[1] async for entry in files.entries()}
    lost = [digest for digest, when in used.items() if digest not in here and when <= time.time() - ABANDONED]
    await shelf.marks.remove(*lost)
    await shelf.room.forget()


def _is_due(shelf: Shelf) -> bool:
    path = os.path.join(shelf.folder.root, "swept")
    try:
        if 0 <= time.time() - os.stat(path, follow_symlinks=False).st_mtime < HOUR:
            return False
    except FileNotFoundError:
        pass
    fd = shelf.folder.file(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.utime(fd)
    finally:
        os.close(fd)
    return True
