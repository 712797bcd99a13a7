"""Content as a local file, for libraries that want a file's name."""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Self

from xooai import forks, held_folder

__all__ = ["LocalFile"]

_PREFIX = "xooai-files-"
_CHUNK = 1024 * 1024  # bytes in memory while it is copied


@cache
def _types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes()  # the built-in tables only: the same on every machine


def _remove(folder: str, process: int, held: int | None = None) -> None:
    if os.getpid() == process:  # after a fork the file is still the parent's
        shutil.rmtree(folder, ignore_errors=True)
    if held is not None:
        os.close(held)


class _Place:
    """The folder of this process's files, which goes with the last of them; after a kill, with the next that is made."""

    __slots__ = ("__weakref__", "_finalizer", "folder", "process")

    def __init__(self) -> None:
        held_folder.swept(_PREFIX)
        self.folder, held = held_folder.made(_PREFIX)
        self.process = os.getpid()
        self._finalizer = weakref.finalize(self, _remove, self.folder, self.process, held)


class _Current:
    """The place of this process, as long as there are files in it."""

    def __init__(self) -> None:
        self._lock = forks.FreshLock()
        self._place: weakref.ref[_Place] | None = None

    def folder(self) -> tuple[_Place, str]:
        """A new folder in it that only this user may enter."""
        with self._lock:
            place = None if self._place is None else self._place()
            if place is not None and place.process == os.getpid():
                with suppress(FileNotFoundError):  # somebody has cleared up
                    return place, tempfile.mkdtemp(dir=place.folder)
            place = _Place()
            self._place = weakref.ref(place)
            return place, tempfile.mkdtemp(dir=place.folder)


_current = _Current()


class LocalFile:
    """A read-only file with what is left to read in another, in a folder that only this user may enter; both go with the last
    document that holds it.
    """

    __slots__ = ("__weakref__", "_finalizer", "_place", "path")

    def __init__(self, content: BinaryIO, media_type: str | None) -> None:
        self._place, folder = _current.folder()  # 0700, unpredictable
        self._finalizer = weakref.finalize(self, _remove, folder, os.getpid())
        self.path = Path(folder, f"content{_types().guess_extension(media_type or '') or ''}")
        with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            shutil.copyfileobj(content, file, _CHUNK)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
