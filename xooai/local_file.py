"""Content as a local file, for libraries that want a file's name."""

from __future__ import annotations

import mimetypes
import os
import tempfile
import weakref
from functools import cache
from pathlib import Path
from typing import Any, Self

__all__ = ["LocalFile"]


@cache
def _types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes()  # the built-in tables only: the same on every machine


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


class LocalFile:
    """A read-only file with `data`, unpredictably named, for this user only; removed with the last document that holds it."""

    __slots__ = ("__weakref__", "_finalizer", "path")

    def __init__(self, data: bytes, media_type: str | None) -> None:
        suffix = _types().guess_extension(media_type or "") or ""
        handle, name = tempfile.mkstemp(suffix=suffix, prefix="xooai-")  # 0600, O_EXCL
        self.path = Path(name)
        self._finalizer = weakref.finalize(self, _remove, name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o400)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
