"""Documents elsewhere, and an executor that passes them on: for tests of when something is fetched."""

from __future__ import annotations

import io
import threading
from typing import Any, ClassVar

from fsspec.spec import AbstractFileSystem

from xooai import ComboDoc, Doc, Executor, Image, Text, post

PNG = b"\x89PNG\r\n\x1a\n and more"


class Counted(AbstractFileSystem):  # type: ignore[misc]
    """Counts what is opened, and holds every reader until `gate` is open."""

    protocol: ClassVar[str] = "counted"
    contents: ClassVar[dict[str, bytes]] = {}
    opened: ClassVar[list[str]] = []
    gate: ClassVar[threading.Event] = threading.Event()

    def _open(self, path: str, *_: Any, **__: Any) -> io.BytesIO:
        assert self.gate.wait(10)
        self.opened.append(path)
        if path not in self.contents:
            raise FileNotFoundError(path)
        return io.BytesIO(self.contents[path])


class Page(ComboDoc):
    scan: Image
    caption: Text | None = None
    more: list[Doc] = []


class Echo(Executor):
    @post
    def echo(self, doc: Doc) -> Doc:
        return doc

    @post
    async def echo_async(self, doc: Image) -> Image:
        return doc

    @post
    def page(self, page: Page) -> Page:
        return page

    @post
    def anything(self, doc: Image):  # type: ignore[no-untyped-def]
        return {"docs": [doc]}
