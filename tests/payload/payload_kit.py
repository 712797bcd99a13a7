"""What the tests of payloads share: contents, an executor that reads and gives them, and places where it is called from."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from xooai import ComboDoc, Doc, Executor, File, Image, Text, Video, post, stream
from xooai.call import Call, Service
from xooai.contents import cache
from xooai.elsewhere import moved

__all__ = [
    "DRIVERS",
    "INLINE",
    "PATIENCE",
    "Facts",
    "Page",
    "Place",
    "Works",
    "counted_bytes",
    "counting",
    "facts_of",
    "made",
    "signed",
    "within",
]

PATIENCE = 20.0  # seconds: what waits longer fails its test instead of stopping the run
INLINE = 256 * 1024  # bytes of a local file that go with the call
DRIVERS = ["http", "grpc", "quic", "memory"]

T = TypeVar("T")


class Facts(BaseModel):
    """What is known of a document where it has arrived, and what reading it gives."""

    kind: str
    digest: str
    length: int
    media_type: str | None
    size: int | None
    signature: str | None
    is_inline: bool


class Page(ComboDoc):
    scan: Image
    caption: Text | None = None
    more: list[Doc] = []


class Album(Doc, kind="payload_album"):
    """A kind with documents in a field of its own."""

    value: bytes | None = None
    cover: Image | None = None

    @classmethod
    def encode(cls, value: Any) -> Any:
        return value

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        return data


def signed(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def made(path: Path, size: int = INLINE + 1, start: bytes = b"") -> Path:
    """A file of this size with a content of its own."""
    path.write_bytes((start + os.urandom(size))[:size])
    return path


def _known(doc: Doc, content: Any) -> Facts:
    data = content.encode() if isinstance(content, str) else content
    return Facts(
        kind=doc.kind,
        digest=signed(data),
        length=len(data),
        media_type=doc.media_type,
        size=doc.size,
        signature=doc.signature,
        is_inline=doc.value is not None,
    )


def facts_of(doc: Doc) -> Facts:
    return _known(doc, doc.read())


class Works(Executor):
    """Reads what it gets, and gives the files that it has."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files: dict[str, str] = {}
        self.calls = 0

    async def setup(self) -> None:
        await cache()  # that of this server, at the place that is named now

    @post
    def facts(self, doc: Doc) -> Facts:
        self.calls += 1
        return facts_of(doc)

    @post
    async def facts_async(self, doc: Doc) -> Facts:
        self.calls += 1
        return _known(doc, await doc.aread())

    @post
    def image(self, doc: Image) -> Facts:
        return facts_of(doc)

    @post
    def either(self, doc: Image | Text | Video) -> Facts:
        return facts_of(doc)

    @post
    def all(self, docs: list[Doc]) -> list[Facts]:
        self.calls += 1
        return [facts_of(doc) for doc in docs]

    @post
    def by_name(self, docs: dict[str, Image]) -> dict[str, Facts]:
        return {name: facts_of(doc) for name, doc in docs.items()}

    @post
    def page(self, page: Page) -> list[Facts]:
        return [facts_of(doc) for doc in (page.scan, page.caption, *page.more) if doc is not None]

    @post
    def album(self, album: Album) -> list[Facts]:
        return [facts_of(album), *([facts_of(album.cover)] if album.cover else [])]

    @post
    def echo(self, doc: Doc) -> Doc:
        self.calls += 1
        return doc

    @post
    def shown(self, doc: Doc) -> str:
        return f"{doc} {doc!r} {doc.model_dump_json()} {doc.model_copy() == doc}"

    @post
    def parts(self, doc: Doc, places: list[tuple[int, int]]) -> list[bytes]:
        with doc.open() as file:
            return [(file.seek(start), file.read(size))[1] for start, size in places]

    @post
    def in_file(self, doc: Doc) -> tuple[str, str]:
        path = doc.path()
        return signed(path.read_bytes()), oct(path.stat().st_mode & 0o777)

    @post
    async def reads_on_loop(self, doc: Doc) -> int:
        return len(doc.read())

    @post
    def give(self, name: str) -> File:
        self.calls += 1
        return File(ref=self.files[name])

    @post
    def give_image(self, name: str) -> Image:
        return Image(ref=self.files[name])

    @post
    def give_video(self, name: str) -> Video:
        return Video(ref=self.files[name])

    @post
    def give_value(self, size: int) -> File:
        return File(value=bytes(size))

    @post
    def give_all(self, names: list[str]) -> dict[str, Doc]:
        return {name: File(ref=self.files[name]) for name in names}

    @post
    def forward(self, url: str, doc: Doc) -> Facts:
        return Facts(**dict(self.post(on=f"{url}/facts", doc=doc)))

    @stream
    async def each(self, docs: AsyncIterator[Doc]) -> AsyncIterator[Facts]:
        async for doc in docs:
            yield _known(doc, await doc.aread())

    @stream
    async def gives_each(self, names: list[str]) -> AsyncIterator[Doc]:
        for name in names:
            yield File(ref=self.files[name])


class Place:
    """Serves executors over one driver, with caches of their own, until the test ends."""

    def __init__(
        self,
        scheme: str,
        folder: Path,
        pem: Callable[[], tuple[str, str]],
        environment: pytest.MonkeyPatch,
        stack: ExitStack,
    ) -> None:
        self.scheme = scheme
        self.folder = folder
        self._pem, self._environment, self._stack = pem, environment, stack
        self._number = 0

    def __call__(self, executor: Executor, **options: Any) -> Any:
        """A client of its class."""
        url = self.serve(executor)
        return self._stack.enter_context(type(executor).at(url, **self.options, **options))

    @property
    def options(self) -> dict[str, Any]:
        return {"trust": self._pem()[0]} if self.scheme == "quic" else {}

    def serve(self, executor: Executor) -> str:
        """Its URL, with its name. Each server has the cache `server`, `server2`, ... of this test."""
        self._number += 1
        options: dict[str, Any] = {}
        if self.scheme == "quic":
            options = dict(zip(("certificate", "key"), self._pem(), strict=True))
        url = "memory://payload" if self.scheme == "memory" else f"{self.scheme}://127.0.0.1:0"
        if self.scheme == "memory" and self._number > 1:
            url += str(self._number)
        with self._environment.context() as environment:
            environment.setenv("XOOAI_CACHE", str(self.cache(self._number)))
            self._stack.enter_context(executor)
            return f"{executor.start(url, grace=0.2, **options)[0]}/{executor.name}"

    @property
    def at(self) -> str:
        """Where a server may listen."""
        return f"{self.scheme}://127.0.0.1:0"

    def cache(self, number: int = 1) -> Path:
        """Where the cache of a server is."""
        return self.folder / f"server{number if number > 1 else ''}"

    def kept(self, number: int = 1) -> list[Path]:
        """The contents in the cache of a server, with what is on its way into it."""
        return [path for path in (self.cache(number) / "contents").rglob("*") if path.is_file()]


@contextmanager
def counted_bytes() -> Iterator[list[tuple[str, int]]]:
    """What is sent of contents, beside messages: signatures and bytes."""
    found: list[tuple[str, int]] = []
    token = moved.set(lambda signature, size: found.append((signature, size)))
    try:
        yield found
    finally:
        moved.reset(token)


def counting(paths: list[str]) -> Callable[[Service], Service]:
    """A layer of a client that notes the paths that are called."""

    def layer(service: Service) -> Service:
        def counted(call: Call) -> Awaitable[None]:
            paths.append(call.head.path)
            return service(call)

        return counted

    return layer


def within(work: Coroutine[Any, Any, T], patience: float = PATIENCE) -> T:
    """Run a coroutine to its end, which is not far."""

    async def limited() -> T:
        async with asyncio.timeout(patience):
            return await work

    return asyncio.run(limited())
