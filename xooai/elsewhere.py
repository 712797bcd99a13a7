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
from xooai.call import entered, remaining
from xooai.codec import Codec
from xooai.contents import Origins, cache
from xooai.deadline import within
from xooai.embedded import endpoints
from xooai.embedded.endpoints import Given, Offered
from xooai.endpoint import Endpoint
from xooai.errors import DataLoss, Internal, InvalidArgument, NotFound, Unavailable, Unimplemented
from xooai.metadata import IDEMPOTENCY_KEY
from xooai.offload import put_all
from xooai.origin import Origin, Wanted
from xooai.remote_stream import Server, open_stream
from xooai.shared_stores import NONE, Seen, Stores
from xooai.store import Content
from xooai.store_ref import StoreRef
from xooai.way import INLINE, room

__all__ = ["FromServer", "ToServer", "moved"]

ATTEMPTS = 4  # in a row to move a content on: each begins where the last one ended
PAUSE = 0.1  # seconds before the second of them, doubled each time
T = TypeVar("T")

moved: ContextVar[Callable[[str, int], None] | None] = ContextVar("xooai_moved", default=None)
"""Is told signature and bytes of what goes out, as it goes: for a progress bar."""


class CallableServer(Server, Protocol):
    """A server that calls go to, of any shape."""

    stores: Stores | None
    timeout: float | None

    async def call(
        self,
        executor: str,
        endpoint: Endpoint,
        arguments: dict[str, Any],
        timeout: float | None,
        codec: str | None,
        metadata: Mapping[str, str] | None,
    ) -> Any: ...


_given = Seen()
"""Which servers have given which contents to handlers."""


class FromServer(Origins):
    """A server, to a client: what it keeps itself may be read from it, and from nowhere else what it names."""

    def __init__(self, remote: CallableServer) -> None:
        super().__init__(remote.stores or NONE)
        self._remote = remote

    def check(self, ref: str) -> None:
        if not _is_granted(ref):  # of a store that this side does not have, it is asked as well
            super().check(ref)

    async def _embedded(self, ref: StoreRef, wanted: Wanted) -> Source:
        return _There(self._remote, wanted.ref, ref.signature, wanted.size)

    async def _may_be_cached(self, source: Source) -> bool:
        """A server that a handler asks may name a content which it does not have, and a caller of ours has sent: what it has not
        given before comes from it.
        """
        if entered.get() is None or (self._remote.server, source.signature) in _given:
            return True
        return not await (await cache()).has(source.signature)

    def _learn(self, source: Source) -> None:
        if entered.get() is not None:  # anywhere else the cache may have given it
            _given.add(self._remote.server, source.signature)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        left = remaining(None)  # a handler may read what another server has answered
        return sync.run(work if left is None else _within(left, work))


async def _within(left: float, work: Coroutine[Any, Any, T]) -> T:
    async def done(_: None) -> T:
        return await work

    try:
        return await within(left, done, None)
    finally:
        work.close()


def _is_granted(ref: str) -> bool:
    try:
        return bool(StoreRef.of(ref).grant)
    except InvalidArgument:
        return False


@dataclass(frozen=True)
class _There:
    """A content that a server keeps. Two of the same server's are equal, whichever grant they come with."""

    remote: CallableServer
    ref: str = field(compare=False)
    signature: str
    size: int | None

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Where the way breaks, it goes on from there. Raises DeadlineExceeded where nothing comes for as long as a call of this
        client may take.
        """
        tries = _Tries()
        while True:
            try:
                async with aclosing(self._once(start, end)) as chunks:
                    async for chunk in chunks:
                        start += len(chunk)
                        yield chunk
            except Unavailable as error:
                tries.came(start)
                await tries.next(error)
            else:
                return

    async def _once(self, start: int, end: int | None) -> AsyncGenerator[bytes, None]:
        arguments = {"ref": self.ref, "start": start, "end": end}
        stream = await self._in_time(
            open_stream(self.remote, "xooai", endpoints.download(), arguments, None, "msgpack", None)
        )
        try:
            while (chunk := await self._in_time(stream.receive())) is not None:
                if not chunk:  # of which there could be any number
                    raise DataLoss(f"{self.remote.server} gave an empty part of {self.signature}")
                yield chunk
        finally:
            stream.close()

    async def _in_time(self, step: Coroutine[Any, Any, T]) -> T:
        timeout = self.remote.timeout
        return await step if timeout is None else await _within(timeout, step)


class _Tries:
    """How often something is tried: so often in a row without anything coming through."""

    def __init__(self) -> None:
        self._left, self._place = ATTEMPTS, -1
        self.sent = 0
        """Up to where something was sent."""

    @property
    def are_few(self) -> bool:
        """Whether this is the last but one."""
        return self._left <= 1

    def came(self, place: int) -> None:
        """So much is there now."""
        if place > self._place:
            self._left, self._place = ATTEMPTS, place

    async def next(self, error: Exception) -> None:
        """Wait before the next try; raise the error of the last one."""
        self._left -= 1
        if not self._left:
            raise error
        await asyncio.sleep(PAUSE * 2 ** (ATTEMPTS - 1 - self._left))


def _beside(metadata: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """What goes with the calls that bring the contents of another one: not the key of that."""
    if metadata is None or all(name.lower() != IDEMPOTENCY_KEY for name in metadata):
        return metadata
    return {name: value for name, value in metadata.items() if name.lower() != IDEMPOTENCY_KEY}


class ToServer:
    """The way of a client's documents: to the store that both have, else to the server itself."""

    inline_limit = INLINE

    def __init__(self, remote: CallableServer, metadata: Mapping[str, str] | None, codec: Codec) -> None:
        self._remote, self._metadata = remote, _beside(metadata)
        self.takes = bool(remote.stores)
        self.message_limit = remote.options.message_limit
        self.room = room(self.message_limit, codec)

    def knows(self, origin: Origin) -> bool:
        return origin is self._remote.origin

    async def put(self, contents: Sequence[Content]) -> Sequence[str]:
        stores = self._remote.stores
        if stores is not None and stores.first is not None:
            return await put_all(contents, await stores.get(stores.first), stores.first)
        try:
            return await self._kept_there(contents)
        except Unavailable as error:
            error.never_ran, error._server = True, self._remote.server  # the call whose contents these are
            raise

    async def _kept_there(self, contents: Sequence[Content]) -> Sequence[str]:
        """Have the server keep contents itself; the refs by which it knows them."""
        once = {content.signature: content for content in contents}  # two documents may have one content
        given = await self._offer(list(once.values()))
        refs = {
            content.signature: there.ref or await self._sent(content, there.place)
            for content, there in zip(once.values(), given, strict=True)
        }
        return [refs[content.signature] for content in contents]

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
        if len(found) != len(contents):
            raise Internal(f"{self._remote.server} was asked of {len(contents):,} contents and told of {len(found):,}")
        return found

    async def _sent(self, content: Content, place: int) -> str:
        """Send a content from `place` on; where the way breaks, from where the server says. Its ref there."""
        tries = _Tries()
        while True:
            if place > content.size:
                raise self._unwilling(content)
            tries.came(place)
            try:
                given = await self._uploaded(content, place, tries)
            except Unavailable as error:
                given = await self._known(content, tries, error)
            else:
                if given.ref is None:
                    await tries.next(self._unwilling(content))
            if given.ref is not None:
                return given.ref
            place = given.place

    async def _known(self, content: Content, tries: _Tries, failure: Exception) -> Given:
        """What the server has of a content after the way broke. Raises Unavailable."""
        while True:
            await tries.next(failure)
            try:
                (given,) = await self._offer([content])
            except Unavailable as error:
                failure = error
                continue
            # It may not know yet that the way broke, and what the broken call has brought can be gone on with once it does.
            is_lost = given.ref is None and not given.place and tries.sent > 0
            if not is_lost or tries.are_few:
                return given

    def _unwilling(self, content: Content) -> Unavailable:
        return Unavailable(f"{self._remote.server} did not take a content of {content.size:,} bytes as a whole")

    async def _uploaded(self, content: Content, place: int, tries: _Tries) -> Given:
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
                    tries.sent = sent
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
