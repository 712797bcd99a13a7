"""Large contents on their way to a peer: put where it can read them, before the message that names them is sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO, NamedTuple

from xooai import ref as refs
from xooai.content import FileContent, MemoryContent, check_range, file_chunks
from xooai.doc import Doc, is_wire, origin_of
from xooai.docs.content import is_assumed
from xooai.errors import DataLoss, ResourceExhausted, Unimplemented, XooaiError, too_large
from xooai.media import sniff
from xooai.media.first_bytes import HEAD
from xooai.origin import STRANGER, Wanted
from xooai.signature import sign_file
from xooai.signed_files import learn, look, signed
from xooai.store import CHUNK, Content, Store, Takes
from xooai.store_ref import StoreRef, is_of_peer
from xooai.walk import documents, replaced
from xooai.way import Way, inlined, leaves

__all__ = ["offloaded", "put_all"]


async def offloaded(value: Any, way: Way) -> Any:
    """The value with the contents of local refs inline or put elsewhere, and inline ones elsewhere that a message cannot take.

    Where the peer has no place for them now, all goes inline that a message can take.
    """
    plan = _Plan(value, way)
    try:
        await plan.make(way.inline_limit)
        if plan.outside:
            try:
                await plan.put()
            except (Unimplemented, ResourceExhausted) as error:
                if isinstance(error, ResourceExhausted) and error.reason == "load":
                    raise
                await plan.make(way.room)
                if plan.outside:
                    raise _too_large(plan, way, error) from error
        return replaced(value, plan.changed)
    finally:
        plan.close()


def _too_large(plan: _Plan, way: Way, error: XooaiError) -> ResourceExhausted:
    item = next(iter(plan.outside.values()))
    told = too_large(item.content.size, way.message_limit, item.name)
    return ResourceExhausted(f"{told.message} for content that travels inline; {error.message}", reason="size")


async def put_all(contents: Sequence[Content], store: Store, name: str) -> Sequence[str]:
    """Put contents into a store that both sides call `name`; the refs by which they know them."""
    for content in contents:
        if not isinstance(content, Unsigned):
            await store.put(content)
        elif isinstance(store, Takes):
            await content.taken(store)
        else:
            await content.sign()
            await store.put(content)
    return [str(StoreRef(name, content.signature)) for content in contents]


class _Outside(NamedTuple):
    content: Content
    sniffed: str | None = None
    """What its first bytes look like: a peer that got them inline would see it."""
    name: str = "a content"


class _Plan:
    """What becomes of the documents of one message, by their keys."""

    def __init__(self, value: Any, way: Way) -> None:
        self.outside: dict[Any, _Outside] = {}
        self._value, self._way = value, way
        self._changes: dict[Any, dict[str, Any]] = {}
        self._files: list[BinaryIO] = []

    async def make(self, inline_limit: int) -> None:
        """Decide what goes inline and what elsewhere."""
        self.close()
        self.outside.clear()
        self._changes.clear()
        await asyncio.to_thread(self._look, inline_limit)
        await self._open_foreign(inline_limit)

    async def put(self) -> None:
        """Put what is to go elsewhere."""
        given = await self._way.put([item.content for item in self.outside.values()])
        for (key, item), ref in zip(self.outside.items(), given, strict=True):
            self._changes[key] = {
                "ref": ref,
                "value": None,
                "signature": item.content.signature,
                "size": item.content.size,
            }

    def changed(self, doc: Doc) -> Doc:
        key = _key(doc)
        update = self._changes.get(key)
        if update is None:
            return doc
        sniffed = self.outside[key].sniffed if key in self.outside else None
        if sniffed is not None and is_assumed(doc.media_type):
            update = {**update, "media_type": sniffed}
        return doc.model_copy(update=update)

    def close(self) -> None:
        while self._files:
            self._files.pop().close()

    def _look(self, inline_limit: int) -> None:
        """Look at all local files: small ones are read, large ones signed. Blocks."""
        inline: dict[Any, tuple[Doc, Any]] = {}
        for doc in documents(self._value):
            key = _key(doc)
            if key in inline or key in self.outside:
                continue
            if leaves(doc):
                if doc.value is not None:
                    inline[key] = doc, doc.value
                continue
            content = _small(doc, inline_limit)
            if content is None:
                self.outside[key] = _outside(doc, self._way.takes)
            else:
                self._changes[key] = {"value": content, "ref": None}
                inline[key] = doc, content
        self._bound(inline)

    def _bound(self, inline: dict[Any, tuple[Doc, Any]]) -> None:
        """Have the largest of the inline contents put elsewhere, where they are too much for one message."""
        total = sum(inlined(content) for _, content in inline.values())
        for key, (_, content) in sorted(inline.items(), key=lambda item: inlined(item[1][1]), reverse=True):
            if total <= self._way.room:
                break
            total -= inlined(content)
            self._changes.pop(key, None)
            data = content.encode() if isinstance(content, str) else content
            self.outside[key] = _Outside(MemoryContent(data), sniff(data[:HEAD]))

    async def _open_foreign(self, inline_limit: int) -> None:
        """Have the contents that another peer keeps, for this one, who cannot ask that one for them."""
        for doc in documents(self._value):
            origin, key = origin_of(doc), _key(doc)
            if origin is None or doc.value is not None or key in self.outside or key in self._changes:
                continue
            if origin is STRANGER or not is_of_peer(doc.ref) or self._way.knows(origin):
                continue  # a ref that nobody here can read goes as the text that it is
            file = await origin.open(Wanted(str(doc.ref), doc.signature, doc.size), is_whole=True)
            self._files.append(file)
            size = os.fstat(file.fileno()).st_size
            if size <= inline_limit:
                data = await asyncio.to_thread(file.read)
                self._changes[key] = {"value": type(doc).decode(data), "ref": None}
            else:
                content = _OpenFile(file, StoreRef.of(str(doc.ref)).signature, size)
                self.outside[key] = _Outside(content)


def _key(doc: Doc) -> Any:
    """What tells documents of one message apart: those with the same ref are read once."""
    if doc.value is not None:
        return id(doc.value)
    return doc.ref, doc.signature, doc.size, type(doc), is_wire(doc)


def _small(doc: Doc, limit: int) -> Any:
    """The content of a local ref, as it goes inline; None for a large one."""
    kept = doc._here()
    if kept is not None:
        return kept if inlined(kept) <= limit else None
    size = refs.size_of(str(doc.ref))
    if size is not None and size > limit:
        return None
    try:
        return doc._fetch(limit)
    except ResourceExhausted:
        return None


def _outside(doc: Doc, is_taken: bool) -> _Outside:
    ref = str(doc.ref)
    path = refs.local_path(ref)
    content: FileContent | _Opened | Unsigned
    if path is not None and is_taken and doc.signature is None and (size := _unsigned(path)) is not None:
        content = Unsigned(path, size)
    elif path is not None:
        content = FileContent(path, *_signed(path))
    else:
        with refs.open_ref(ref) as file:
            signed = sign_file(file)
        content = _Opened(lambda: refs.open_ref(ref), *signed)
    if doc.size not in (None, content.size):
        raise DataLoss(f"the content has {content.size} bytes, size says {doc.size}")
    if doc.signature is not None and doc.signature != content.signature:
        raise DataLoss(f"the content is {content.signature}, it should be {doc.signature}")
    with content.open() as file:
        head = file.read(HEAD)
    return _Outside(content, sniff(head), f"the file {refs.redact(ref)!r}")


def _unsigned(path: os.PathLike[str]) -> int | None:
    """The size of a file whose signature is not known; None where it is."""
    with refs.open_ref(os.fspath(path)) as file:
        found, size = look(file)
        return size if found is None else None


def _signed(path: os.PathLike[str]) -> tuple[str, int]:
    """Signature and size of a file of this machine."""
    with refs.open_ref(os.fspath(path)) as file:
        return signed(file)


class Unsigned:
    """A file whose signature is known when a store has taken it: to sign it first would read it twice."""

    def __init__(self, path: os.PathLike[str], size: int) -> None:
        self.signature, self.size = "", size
        self._path = path

    def open(self) -> BinaryIO:
        return refs.open_ref(os.fspath(self._path))

    async def taken(self, store: Takes) -> None:
        file = await asyncio.to_thread(self.open)
        try:
            before = os.fstat(file.fileno())
            self.signature, self.size = await store.take(file)
            learn(file, before, self.signature)
        finally:
            file.close()

    async def sign(self) -> None:
        self.signature, self.size = await asyncio.to_thread(_signed, self._path)

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        return FileContent(self._path, self.signature, self.size).read(start, end)


class _Opened:
    """A content behind a ref that is no path: read through what opens it, in threads."""

    def __init__(self, opening: Callable[[], BinaryIO], signature: str, size: int) -> None:
        self.signature, self.size = signature, size
        self.open = opening

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        check_range(start, end)
        stop = self.size if end is None else min(end, self.size)
        file = await asyncio.to_thread(self.open)
        try:
            await asyncio.to_thread(file.seek, start)
            while start < stop:
                chunk = await asyncio.to_thread(file.read, min(CHUNK, stop - start))
                if not chunk:
                    break
                start += len(chunk)
                yield chunk
        finally:
            file.close()


class _OpenFile:
    """A content in a file that is open."""

    def __init__(self, file: BinaryIO, signature: str, size: int) -> None:
        self.signature, self.size = signature, size
        self._file = file

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async with aclosing(file_chunks(lambda: os.dup(self._file.fileno()), start, end)) as chunks:
            async for chunk in chunks:
                yield chunk
