"""A bounded line of calls that wait for a place: by priority, and within one the callers take turns. Pure: nothing waits here."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv6Address
from typing import Generic, Protocol, TypeVar

from xooai.driver import Head

__all__ = ["PRIORITY", "Full", "Line", "Waiting", "address_of", "priority_of", "tenant_of"]

PRIORITY = "xooai-priority"
"""The metadata by which a caller says how urgent a call is: a whole number from -9 to 9, 0 where it says nothing."""
MOST_URGENT = 9  # one digit: as many steps as anybody tells apart
BYTES = 64 * 1024 * 1024  # of requests that wait in one line: one of the largest, or a thousand of 64 KiB

_NUMBER = {str(number): number for number in range(-MOST_URGENT, MOST_URGENT + 1)}


class Waiting(Protocol):
    """A call in the line; `size` is the bytes of its request that are held meanwhile."""

    tenant: str
    priority: int
    size: int


W = TypeVar("W", bound=Waiting)


class Full(Exception):
    """There is no room; `is_own` says that the caller has most of it himself, while others wait too."""

    def __init__(self, *, is_own: bool) -> None:
        self.is_own = is_own


class _Queue(Generic[W]):
    """Those of one tenant and priority, the first that came first."""

    __slots__ = ("calls", "size")

    def __init__(self) -> None:
        self.calls: deque[W] = deque()
        self.size = 0


class Line(Generic[W]):
    """Who waits. `calls` and `size` are the most that there may be, in calls and bytes."""

    def __init__(self, calls: int, size: int = BYTES) -> None:
        self._calls, self._size = calls, size
        self._count = self._held = 0
        self._levels: dict[int, dict[str, _Queue[W]]] = {}  # by priority, then by tenant: whose turn is next is first

    def __len__(self) -> int:
        return self._count

    def join(self, call: W) -> list[W]:
        """Put a call in; return those that lost their places to it. Raises Full.

        Of a full line those go that came last, of the lowest priority, of the tenant that has most of it; only where the
        newcomer has a higher priority, or the less of it.
        """
        lost: list[W] = []
        while self._count and (self._count >= self._calls or self._held + call.size > self._size):
            try:
                lost.append(self._displaced(call))
            except Full:
                for one in reversed(lost):  # nobody goes for a call that does not fit after all
                    self._put(one)
                raise
        if not self._calls:
            raise Full(is_own=False)
        self._put(call)
        return lost

    def next(self) -> W | None:
        """Take out the call whose turn it is."""
        if not self._count:
            return None
        level = max(self._levels)
        tenants = self._levels[level]
        tenant, queue = next(iter(tenants.items()))
        call = queue.calls.popleft()
        del tenants[tenant]
        if queue.calls:
            tenants[tenant] = queue  # behind the others
        self._taken(queue, call, level)
        return call

    def leave(self, call: W) -> bool:
        """Take a call out that waits no more; False where it is not there."""
        queue = self._levels.get(call.priority, {}).get(call.tenant)
        if queue is None or call not in queue.calls:
            return False
        self._out(queue, call)
        return True

    def _put(self, call: W) -> None:
        tenants = self._levels.setdefault(call.priority, {})
        queue = tenants.get(call.tenant)
        if queue is None:
            queue = tenants[call.tenant] = _Queue()
        queue.calls.append(call)
        queue.size += call.size
        self._held += call.size
        self._count += 1

    def _out(self, queue: _Queue[W], call: W) -> None:
        queue.calls.remove(call)
        if not queue.calls:
            del self._levels[call.priority][call.tenant]
        self._taken(queue, call, call.priority)

    def _taken(self, queue: _Queue[W], call: W, level: int) -> None:
        queue.size -= call.size
        self._held -= call.size
        self._count -= 1
        if not self._levels[level]:
            del self._levels[level]

    def _displaced(self, newcomer: W) -> W:
        """Take out the call that has to go for another one. Raises Full where it is the newcomer that has to."""
        lowest = min(self._levels)
        if newcomer.priority < lowest:
            raise Full(is_own=False)
        tenants = self._levels[lowest]
        largest = max(tenants.values(), key=self._share)
        call = largest.calls[-1]
        if newcomer.priority == lowest:
            own = tenants.get(newcomer.tenant)
            share = self._share(own, newcomer)
            if own is largest or share >= self._share(largest):
                raise Full(is_own=own is largest and len(tenants) > 1)
        largest.calls.pop()
        if not largest.calls:
            del tenants[call.tenant]
        self._taken(largest, call, lowest)
        return call

    def _share(self, queue: _Queue[W] | None, more: W | None = None) -> float:
        """How much of the line some have, by calls or by bytes, whichever is more."""
        calls, size = (0, 0) if queue is None else (len(queue.calls), queue.size)
        if more is not None:
            calls, size = calls + 1, size + more.size
        return max(calls / self._calls, size / self._size)


def tenant_of(head: Head) -> str:
    """Who shares a turn: the callers of one identity; without one those of an address, or of an IPv6 network of 64 bits.

    So much one customer of a provider has: by each of his addresses he would be somebody else.
    """
    return head.identity or address_of(head.peer)


def address_of(peer: str) -> str:
    """The address of a peer with its port, or its IPv6 network; some drivers write brackets around that, some do not."""
    address = peer.rpartition(":")[0] or peer
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address.strip("[]").partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped) if found.ipv4_mapped else found.packed[:8].hex()


def priority_of(head: Head) -> int:
    """How urgent a call says it is; what is no such number is 0."""
    return _NUMBER.get(head.metadata.get(PRIORITY, "0").strip(), 0)
