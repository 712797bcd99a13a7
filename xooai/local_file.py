"""Content as a local file, for libraries that want a file's name."""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
import weakref
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Self

__all__ = ["LocalFile"]

_CHUNK = 1024 * 1024  # bytes in memory while it is copied


@cache
def _types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes()  # the built-in tables only: the same on every machine


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # after a fork the file is still the parent's
        shutil.rmtree(folder, ignore_errors=True)


class LocalFile:
    """A read-only file with what is left to read in another, in a folder that only this user may enter; both go with the last
    document that holds it.
    """

    __slots__ = ("__weakref__", "_finalizer", "path")

    def __init__(self, content: BinaryIO, media_type: str | None) -> None:
        folder = tempfile.mkdtemp(prefix="xooai-")  # 0700, unpredictable
        self._finalizer = weakref.finalize(self, _remove, folder, os.getpid())
        self.path = Path(folder, f"content{_types().guess_extension(media_type or '') or ''}")
        with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            shutil.copyfileobj(content, file, _CHUNK)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
