"""Contents that were not what their signatures say, moved out of the way: the newest are kept, to be looked at."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress

from xooai.cache.folder import Folder
from xooai.cache.room import Held, on_disk
from xooai.content import key_of

__all__ = ["Corrupt"]

KEPT = 16  # things: enough to see what happens to a disk
KEPT_BYTES = 64 * 1024 * 1024  # with what is larger the folder would grow beyond the cache's own limit


class Corrupt:
    """What was found corrupt in one cache. All methods block."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def move(self, signature: str) -> bool:
        """Move a content out of its place, whatever is there: a file, a folder, a link. Whether there was anything."""
        digest = signature.rpartition(":")[2]
        found = os.path.join(self._folder.contents, key_of(signature))
        moved = os.path.join(self._folder.corrupt, f"{digest}.{secrets.token_hex(4)}")
        with suppress(FileExistsError):
            os.mkdir(self._folder.corrupt, 0o700)
        try:
            os.rename(found, moved)
        except FileNotFoundError:
            return False
        with suppress(OSError):
            os.utime(moved, follow_symlinks=False)  # the newest are kept: those found last
        self.bound()
        return True

    def bound(self) -> None:
        """Remove what is too much, the oldest first."""
        total = 0
        for place, (_, size, path) in enumerate(sorted(self._all(), reverse=True)):
            total += size
            if place >= KEPT or total > KEPT_BYTES:
                _remove(path)
                total -= size

    def clear(self) -> Held:
        """Remove all; what there was."""
        held = self.held()
        for _, _, path in self._all():
            _remove(path)
        return held

    def held(self) -> Held:
        """How much there is."""
        found = self._all()
        return Held(sum(on_disk(size) for _, size, _ in found), len(found))

    def _all(self) -> list[tuple[float, int, str]]:
        """Time, size and path of each."""
        found: list[tuple[float, int, str]] = []
        with suppress(FileNotFoundError), os.scandir(self._folder.corrupt) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process has removed it
                    status = entry.stat(follow_symlinks=False)
                    found.append((min(status.st_mtime, time.time()), status.st_size, entry.path))
        return found


def _remove(path: str) -> None:
    with suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
