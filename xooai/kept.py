"""What a server has for the contents of its callers' documents: its stores, and what it keeps itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from xooai import sync
from xooai.call import remaining
from xooai.codec import JSON, MSGPACK
from xooai.contents import Origins
from xooai.driver import MESSAGE_LIMIT, Shape
from xooai.endpoint import Endpoint
from xooai.errors import DeadlineExceeded, FailedPrecondition, Unavailable, Unimplemented
from xooai.lazy import lazy
from xooai.origin import Origin, Wanted
from xooai.shared_stores import NONE, Stores
from xooai.store_ref import StoreRef, is_of_peer
from xooai.way import INLINE, room

if TYPE_CHECKING:
    from xooai import embedded, offload
    from xooai.cache import Source
    from xooai.store import Content
else:
    embedded = lazy("xooai.embedded")
    offload = lazy("xooai.offload")

__all__ = ["SHAPES", "Contents"]

SHAPES: Mapping[str, Shape] = {
    "/xooai/offer": Shape.UNARY,
    "/xooai/upload": Shape.CLIENT,
    "/xooai/download": Shape.SERVER,
}
"""The endpoints of what a server keeps itself: known before they are first asked for."""

T = TypeVar("T")


class Contents:
    """Of one site."""

    def __init__(self) -> None:
        self.stores: Stores = NONE
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that serves: whoever reads a document in a thread waits for it."""
        self._keeper: embedded.Keeper | None = None
        self._anonymous = _FromCaller(self, "")

    def have(self, stores: Stores) -> None:
        """Have more stores: those of one of the executors."""
        if stores:
            self.stores = self.stores | stores
            self._anonymous = _FromCaller(self, "")

    @property
    def keeper(self) -> embedded.Keeper:
        if self._keeper is None:
            self._keeper = embedded.Keeper(self.stores)
        return self._keeper

    def answers(self, path: str) -> tuple[Callable[[], Endpoint], Callable[..., Any]]:
        """The endpoint at one of `SHAPES`, and the function that answers it."""
        return self.keeper.endpoints()[path]

    def origin(self, identity: str) -> Origin:
        """A caller, as whom its documents come from."""
        return _FromCaller(self, identity) if identity else self._anonymous

    def way(self, identity: str, *, is_ours: bool, is_raw: bool = False) -> ToCaller:
        """The way of a reply's documents to a caller: one of our clients, or another; `is_raw` where the reply is the content."""
        return ToCaller(self, identity, is_ours=is_ours, is_raw=is_raw)

    async def aclose(self) -> None:
        if self._keeper is not None:
            await self._keeper.aclose()


class _FromCaller(Origins):
    """A caller, to a server: what it has sent before, or may read here, and what is in the server's stores."""

    def __init__(self, contents: Contents, tenant: str) -> None:
        super().__init__(contents.stores.of(tenant))
        self._contents, self.tenant = contents, tenant

    async def open(self, wanted: Wanted, *, is_whole: bool = False) -> BinaryIO:
        # What is kept here is a file already, though it may have to be verified anew: then as a whole.
        return await super().open(wanted, is_whole=is_whole or is_of_peer(wanted.ref))

    async def _embedded(self, ref: StoreRef, wanted: Wanted) -> Source:
        return await self._contents.keeper.source(self.tenant, ref, wanted.size)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._contents.loop
        if loop is None or not loop.is_running():
            work.close()
            raise Unavailable("the server that got this document runs no more")
        if asyncio._get_running_loop() is loop:
            work.close()
            raise FailedPrecondition("reading this file here would block the loop that serves; read it in a thread")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return sync.result(future, remaining(None))
        except TimeoutError as error:
            if future.done():  # what reading raised is one, too
                raise
            raise DeadlineExceeded("the time allowed for the call has passed while a document was read") from error
        finally:
            future.cancel()


class ToCaller:
    """The way of a reply's documents: to the store that both have, else kept here. Who is none of ours gets them inline."""

    message_limit = MESSAGE_LIMIT

    def __init__(self, contents: Contents, tenant: str, *, is_ours: bool, is_raw: bool) -> None:
        self._contents, self._tenant, self._is_raw = contents, tenant, is_raw
        self._stores = contents.stores.of(tenant)
        self.takes = bool(self._stores) and not is_raw
        self.room = MESSAGE_LIMIT if is_raw else room(MESSAGE_LIMIT, MSGPACK if is_ours else JSON)
        self.inline_limit = INLINE if is_ours else self.room

    def knows(self, origin: Origin) -> bool:
        return isinstance(origin, _FromCaller) and origin.tenant == self._tenant and origin._contents is self._contents

    async def put(self, contents: Sequence[Content]) -> Sequence[str]:
        if self._is_raw:
            raise Unimplemented("a reply that is the content itself goes as one message")
        first = self._stores.first
        if first is None:
            return [await self._contents.keeper.put(self._tenant, content) for content in contents]
        await offload.put_all(contents, await self._stores.get(first), first)
        keeper = self._contents.keeper
        return [await keeper.granted(self._tenant, first, content.signature) for content in contents]
