"""How xooai finds the store of a directory."""

from __future__ import annotations

from xooai.plugins import hookimpl
from xooai.store import Opener, Store, StoreOptions
from xooai_fsspec.directory import open_directory

__all__ = ["xooai_store"]


class _Directories:
    def open(self, url: str, options: StoreOptions) -> Store:
        return open_directory(url, options)


@hookimpl
def xooai_store(scheme: str) -> Opener | None:
    """The stores of file://."""
    return _Directories() if scheme == "file" else None
