"""A site that answers those only who have a key, or a certificate, that allows what they call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from xooai.driver import AUTHORIZATION, Channel, Head
from xooai.errors import XooaiError
from xooai.keys import Keyring
from xooai.keys.file import Entry
from xooai.keys.share import Share, Shares
from xooai.layers.limit import Admission
from xooai.layers.line import PRIORITY, priority_of
from xooai.layers.wrong_keys import WrongKeys
from xooai.lazy import lazy
from xooai.routes import Hosted
from xooai.server import Site
from xooai.tally import OTHER, calls

if TYPE_CHECKING:
    from xooai import watching
    from xooai.layers import bandwidth, once
    from xooai.layers import log as calllog
else:
    watching = lazy("xooai.watching")
    calllog = lazy("xooai.layers.log")
    bandwidth = lazy("xooai.layers.bandwidth")
    once = lazy("xooai.layers.once")  # few callers send keys of this kind

__all__ = ["GuardedSite"]


class GuardedSite(Site):
    """Implements `xooai.driver.Guarding` beside."""

    is_guarded = True

    def __init__(self, executors: tuple[Hosted, ...], keys: Keyring, admission: Admission | None = None) -> None:
        super().__init__(executors, admission=admission)
        self._keys = keys
        self._shares = Shares()
        self._wrong = WrongKeys()

    def admit(self, head: Head) -> str:
        """Whose request this is. Raises Unauthenticated and PermissionDenied."""
        try:
            return self._entry(head).tenant
        except XooaiError as error:  # who asks for it ends the request by that, and no call comes of it
            calls(OTHER, OTHER, head.driver).refused(error.code)
            if self.watches:
                calllog.refused(head, error.code)
            raise

    def knows(self, head: Head) -> bool:
        """Whether `admit` would let a request in; nobody is told of it."""
        try:
            self._keys.entry(head.path, head.metadata, head.identity)
        except XooaiError:
            return False
        return True

    def _entry(self, head: Head) -> Entry:
        try:
            return self._keys.entry(head.path, head.metadata, head.identity)
        except XooaiError as error:
            if AUTHORIZATION not in head.metadata:
                raise
            raise self._wrong.instead(error, head.peer) from None

    def reload(self) -> None:
        """Read the file of keys as it is now. Implements `xooai.driver.Reloading`."""
        self._keys.look()

    def accepting(self, driver: str) -> Callable[[Channel], Coroutine[Any, Any, None]]:
        """What accepts the calls that come by a driver, and tells them so."""

        def accepted(channel: Channel) -> Coroutine[Any, Any, None]:
            channel.head.driver = driver
            return self.accept(channel)

        return accepted

    async def accept(self, channel: Channel) -> None:
        """Answer one call, if its caller may make it."""
        head = channel.head
        try:
            entry = self._entry(head)
            share = self._shares.of(entry)
            if share is not None:
                share.begin(entry)
        except XooaiError as error:
            if self.watches:
                await watching.watched(partial(self._turn_away, error), channel, self.watches, False)
            else:
                await self._refuse(channel, error)
            return
        # A handler is not given what the caller proved it by.
        metadata = {name: value for name, value in head.metadata.items() if name != AUTHORIZATION}
        if priority_of(head) > entry.priority:
            metadata[PRIORITY] = str(entry.priority)
        channel.head = replace(head, identity=entry.tenant, metadata=metadata)
        if share is None:
            await super().accept(channel)
            return
        answer = super().accept(channel) if entry.bandwidth is None else self._metered(channel, share, entry.bandwidth)
        if head.is_keyed:
            await _held(share, answer)
            return
        try:
            await answer
        finally:
            share.end()

    def _metered(self, channel: Channel, share: Share, rate: float) -> Awaitable[None]:
        """Answer one call whose bytes its key has to pay for."""
        return self._watched(channel, (partial(bandwidth.Metered, share, rate), *self.watches))

    async def _turn_away(self, error: XooaiError, channel: Channel, watch: watching.Watch) -> None:
        await self._refuse(channel, error, None, watch)


async def _held(share: Share, answer: Awaitable[None]) -> None:
    """Answer a call that goes on where its caller leaves, and end its share once it has ended itself."""
    going: list[asyncio.Task[Any]] = []
    token = once.going_on.set(going)
    try:
        await answer
    finally:
        once.going_on.reset(token)
        if going:
            going[0].add_done_callback(lambda _: share.end())
        else:
            share.end()
