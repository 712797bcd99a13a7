"""A run whose nodes are all called at servers, with what is unread: one task for all of them, however many are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from xooai.errors import XooaiError
from xooai.flow.budget import Budget
from xooai.flow.plain import Plain
from xooai.flow.unread import Reply, Request, answered

if TYPE_CHECKING:
    from xooai.client import Sent
    from xooai.endpoint import Endpoint

__all__ = ["Failed", "Relay", "taken"]

Failed = tuple["Sent", Exception]
"""A call that was sent, and what became of it."""


def taken(sent: Sent, endpoint: Endpoint, reply: bytes, media_type: str) -> Reply:
    """The reply of a call that was sent. Raises Internal for what is none."""
    remote = sent.remote
    return answered(reply, media_type, endpoint.result, remote.origin, (remote.server, sent.path))


class Relay:
    """Sends calls of plain nodes at once, and takes their replies as they come.

    What needs waiting to be sent, or has failed, is left to `part`, which runs a node in a task of its own.
    """

    def __init__(
        self,
        plain: Mapping[str, Plain],
        replies: dict[str, Any],
        given: Request,
        wanted: str,
        busy: dict[str, None],
        budget: Budget,
        after: Callable[[str], list[str]],
    ) -> None:
        """Both `replies` and `busy` are written to. `after` tells which nodes are ready once one has ended."""
        self._plain, self._replies, self._given, self._wanted = plain, replies, given, wanted
        self._busy, self._budget, self._after = busy, budget, after
        self._loop = asyncio.get_running_loop()
        self._flying: dict[str, Sent] = {}
        self._ready: list[str] = []
        self._failed: list[tuple[str, Failed]] = []
        self._waiter: asyncio.Future[None] | None = None

    def start(self, id: str) -> bool:
        """Send the call of a node; False where it was not."""
        plain = self._plain[id]
        packing = plain.packing
        if packing is None or self._budget.left < 1:
            return False
        try:
            packed = packing.request(self._replies, self._given)
            if packed is None:
                return False
            wanted = self._wanted if plain.is_last else ""
            sent = packing.target.start(plain.step.endpoint, packed, wanted, self._loop, partial(self._came, id))
            if sent is None:
                return False
        except XooaiError:  # which comes again where it is called, and is told there
            return False
        self._budget.take(1)
        self._flying[id] = sent
        self._busy[id] = None
        return True

    async def run(self, ready: Sequence[str], part: Callable[[str, Failed | None], None]) -> None:
        """Run nodes beside those that are under way, and all that they make ready, until none is under way."""
        self._ready += ready
        try:
            while self._flying or self._ready or self._failed:
                ready, self._ready = self._ready, []
                failed, self._failed = self._failed, []
                for id in ready:
                    if not self.start(id):
                        part(id, None)
                for id, why in failed:
                    part(id, why)
                if self._flying and not (self._ready or self._failed):
                    self._waiter = self._loop.create_future()
                    await self._waiter
        finally:
            self._waiter = None
            for sent in list(self._flying.values()):
                sent.abort()
            self._failed.clear()

    def _came(self, id: str) -> None:
        """A call has ended. This runs in whatever context its connection was made in."""
        sent = self._flying.pop(id)
        try:
            reply = taken(sent, self._plain[id].step.endpoint, *sent.reply())
        except Exception as error:  # noqa: BLE001 - it is raised where the node is run
            self._failed.append((id, (sent, error)))
        else:
            reply.node = id
            self._replies[id] = reply
            del self._busy[id]
            self._ready += self._after(id)
        waiter = self._waiter
        if waiter is not None and (self._ready or self._failed or not self._flying):
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
