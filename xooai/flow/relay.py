"""A run whose nodes are all called at servers, with what is unread: one task for all of them, however many are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from xooai.call import carried, entered, hops
from xooai.driver import Head
from xooai.errors import XooaiError
from xooai.flow.budget import Budget
from xooai.flow.packing import Packing
from xooai.flow.plain import Plain
from xooai.flow.unread import Packed, Reply, Request, accepted, answered

if TYPE_CHECKING:
    from xooai.client import Remote, Sent
    from xooai.endpoint import Endpoint

__all__ = ["Failed", "Hop", "Relay", "taken"]

Failed = tuple["Sent", Exception]
"""A call that was sent, and what became of it."""


def taken(sent: Sent, endpoint: Endpoint, reply: bytes, media_type: str) -> Reply:
    """The reply of a call that was sent. Raises Internal for what is none."""
    remote = sent.remote
    return answered(reply, media_type, endpoint.result, remote.origin, (remote.server, sent.path))


class _Way(msgspec.Struct, frozen=True, gc=False):
    """Where a call goes, and its head; those after it, with these three, have the same."""

    codec: str
    wanted: str
    before: int
    remote: Remote
    head: Head


class Hop:
    """A plain node at a server: what its last call took to be sent, as nearly always the next one does."""

    __slots__ = ("endpoint", "is_last", "packing", "way")

    def __init__(self, plain: Plain, packing: Packing) -> None:
        self.endpoint, self.is_last, self.packing = plain.step.endpoint, plain.is_last, packing
        self.way: _Way | None = None

    def find(self, packed: Packed, wanted: str, before: int) -> _Way | None:
        """The way of a call, in the context of the one that it is a part of; None where its server is to be asked before."""
        there = self.packing.target.there()
        if there is None:
            return None
        remote, executor = there
        codec = packed.codec
        accept = wanted or accepted(self.endpoint, codec)
        head = remote.heading(executor, self.endpoint.name, codec.media_type, remote.timeout, accept)
        return _Way(codec.name, wanted, before, remote, head)


class Relay:
    """Sends calls of plain nodes at once, and takes their replies as they come; the task is woken once none is under way.

    What needs waiting to be sent, or has failed, is left to `part`, which runs a node in a task of its own.
    """

    def __init__(
        self,
        hops_by_id: Mapping[str, Hop],
        replies: dict[str, Any],
        given: Request,
        wanted: str,
        busy: dict[str, None],
        budget: Budget,
        after: Callable[[str], Sequence[str]],
    ) -> None:
        """Both `replies` and `busy` are written to. `after` tells which nodes are ready once one has ended."""
        self._hops, self._replies, self._given, self._wanted = hops_by_id, replies, given, wanted
        self._busy, self._budget, self._after = busy, budget, after
        self._loop = asyncio.get_running_loop()
        call = entered.get()
        self._deadline = None if call is None else call.deadline
        self._before = hops()
        self._is_usual = not carried()  # else each head is of this call alone
        self._flying: dict[str, Sent] = {}
        self._ready: list[str] = []
        self._failed: list[tuple[str, Failed]] = []
        self._waiter: asyncio.Future[None] | None = None

    def start(self, id: str) -> bool:
        """Send the call of a node; False where it was not."""
        try:
            return self._send(id, True)
        except XooaiError:  # which comes again where it is called, and is told there
            return False

    def _send(self, id: str, may_find: bool) -> bool:
        """As `start`; only in the task of the run a way may be found."""
        hop = self._hops[id]
        if self._budget.left < 1:
            return False
        packed = hop.packing.request(self._replies, self._given)
        if packed is None:
            return False
        wanted, before, way = self._wanted if hop.is_last else "", self._before, hop.way
        if (
            way is None
            or not self._is_usual
            or way.before != before
            or way.codec != packed.codec.name
            or way.wanted != wanted
        ):
            way = hop.find(packed, wanted, before) if may_find else None
            if way is None:
                return False
            if self._is_usual and not carried():  # somebody may have asked for the id of the call since it began
                hop.way = way
        head = way.head if self._deadline is None else _within(way.head, self._deadline)
        sent = way.remote.start(head, packed.frame, self._loop, partial(self._came, id))
        if sent is None:
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
        sent, waiter = self._flying.pop(id), self._waiter
        try:
            reply = taken(sent, self._hops[id].endpoint, *sent.reply())
        except Exception as error:  # noqa: BLE001 - it is raised where the node is run
            self._failed.append((id, (sent, error)))
        else:
            reply.node = id
            self._replies[id] = reply
            del self._busy[id]
            for next in self._after(id):
                if waiter is None or self._failed or not self._follows(next):
                    self._ready.append(next)
        if waiter is not None and (self._ready or self._failed or not self._flying):
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _follows(self, id: str) -> bool:
        """As `start`, outside of the task, which is not woken for it."""
        try:
            return self._send(id, False)
        except Exception:  # noqa: BLE001 - it comes again in the task, and is raised there
            return False


def _within(head: Head, deadline: float) -> Head:
    """The head of a call that has to end by then, in monotonic seconds."""
    left = max(0.0, deadline - monotonic())
    if head.timeout is not None and head.timeout <= left:
        return head
    return Head(head.path, head.codec, head.accept, timeout=left, metadata=head.metadata)
