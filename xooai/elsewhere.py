"""Contents between a client and a server: put where the server can read them, and read where it keeps those of its replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from xooai import sync
from xooai.cache import Source
from xooai.contents import NONE, Origins, Stores
from xooai.embedded import endpoints
from xooai.embedded.endpoints import Given, Offered
from xooai.endpoint import Endpoint
from xooai.errors import DataLoss, NotFound, Unavailable, Unimplemented
from xooai.offload import put_all
from xooai.origin import Origin, Wanted
from xooai.remote_stream import Server, open_stream
from xooai.store import Content
from xooai.store_ref import StoreRef
from xooai.way import INLINE

__all__ = ["FromServer", "ToServer", "moved"]

ATTEMPTS = 4  # to send a content: each goes on where the last one ended
PAUSE = 0.1  # seconds before the second attempt, doubled each time
T = TypeVar("T")

moved: ContextVar[Callable[[str, int], None] | None] = ContextVar("xooai_moved", default=None)
"""Is told signature and bytes of what goes out, as it goes: for a progress bar."""


class CallableServer(Server, Protocol):
    """A server that calls go to, of any shape."""

    stores: Stores | None

    async def call(
        self,
        executor: str,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        codec: str | None,
        metadata: Mapping[str, str] | None,
    ) -> Any: ...


class FromServer(Origins):
    """A server, to a client: what it keeps itself may be read from it, and from nowhere else what it names."""

    def __init__(self, remote: CallableServer) -> None:
        super().__init__(remote.stores or NONE)
        self._remote = remote

    async def _embedded(self, ref: StoreRef, wanted: Wanted) -> Source:
        return _There(self._remote, wanted.ref, ref.signature, wanted.size)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return sync.run(work)


@dataclass(frozen=True)
class _There:
    """A content that a server keeps. Two of the same server's are equal, whichever grant they come with."""

    remote: CallableServer
    ref: str = field(compare=False)
    signature: str
    size: int | None

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        arguments = {"ref": self.ref, "start": start, "end": end}
        stream = await open_stream(self.remote, "xooai", endpoints.download(), arguments, None, "msgpack", None)
        try:
            async for chunk in stream:
                yield chunk
        finally:
            stream.close()


class ToServer:
    """The way of a client's documents: to the store that both have, else to the server itself."""

    inline_limit = INLINE

    def __init__(self, remote: CallableServer, metadata: Mapping[str, str] | None) -> None:
        self._remote, self._metadata = remote, metadata
        self.takes = bool(remote.stores)
        self.message_limit = remote.options.message_limit

    def knows(self, origin: Origin) -> bool:
        return origin is self._remote.origin

    async def put(self, contents: Sequence[Content]) -> Sequence[str]:
        stores = self._remote.stores
        if stores is not None and stores.first is not None:
            return await put_all(contents, await stores.get(stores.first), stores.first)
        given = await self._offer(contents)
        return [
            there.ref or await self._sent(content, there.place) for content, there in zip(contents, given, strict=True)
        ]

    async def _offer(self, contents: Sequence[Content]) -> Sequence[Given]:
        found: list[Given] = []
        for place in range(0, len(contents), endpoints.CONTENTS):
            some = contents[place : place + endpoints.CONTENTS]
            offered = [Offered(signature=content.signature, size=content.size) for content in some]
            try:
                found += await self._remote.call(
                    "xooai", endpoints.offer(), {"contents": offered}, None, "msgpack", self._metadata
                )
            except NotFound as error:
                raise Unimplemented(f"{self._remote.server} keeps no contents of calls") from error
        return found

    async def _sent(self, content: Content, place: int) -> str:
        """Send a content from `place` on; where the way breaks, from where the server says. Its ref there."""
        for attempt in range(ATTEMPTS):
            try:
                given = await self._uploaded(content, place)
            except Unavailable:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE * 2**attempt)
                given = (await self._offer([content]))[0]
            if given.ref is not None:
                return given.ref
            place = given.place
        raise Unavailable(f"{self._remote.server} did not take a content of {content.size:,} bytes as a whole")

    async def _uploaded(self, content: Content, place: int) -> Given:
        tell = moved.get()
        arguments = {"signature": content.signature, "size": content.size, "place": place}
        stream = await open_stream(
            self._remote, "xooai", endpoints.upload(), arguments, None, "msgpack", self._metadata
        )
        try:
            sent = place
            async with aclosing(content.read(place)) as chunks:
                async for chunk in chunks:
                    sent += len(chunk)
                    if sent > content.size:
                        raise _changed(content)
                    await stream.send(chunk)
                    if tell is not None:
                        tell(content.signature, len(chunk))
            if sent != content.size:
                raise _changed(content)
            await stream.end()
            given = await stream.receive()
        finally:
            stream.close()
        return given  # type: ignore[no-any-return]


def _changed(content: Content) -> DataLoss:
    return DataLoss(f"a content of {content.size:,} bytes was changed while it was sent")
