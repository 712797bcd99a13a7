"""What one key may use: calls at a time, and calls and bytes a second. Counted in this process, on the clock that nobody sets."""

from __future__ import annotations

from random import uniform
from time import monotonic

from xooai.errors import ResourceExhausted
from xooai.keys.file import Entry
from xooai.tally import count

__all__ = ["Share", "Shares"]

BURST = 1.0  # seconds whose worth of bytes may come at once, as of calls
LEAST = 64  # keys of which something is kept in any case
SOONEST = 0.001  # seconds: what is told to who is refused is written in milliseconds


class Share:
    """What one key uses now. All is called in one loop.

    The rates are kept as by ATM's generic cell rate algorithm (ITU-T I.371): a second's worth may come at once. How many bytes a
    call moves is known when it has: it begins where those before it are paid for.
    """

    __slots__ = ("_due", "_paid", "running")

    def __init__(self) -> None:
        self.running = 0
        self._due = 0.0  # monotonic seconds: when the next call would come, if all came evenly
        self._paid = 0.0  # monotonic seconds: when all bytes have been moved, if all were moved evenly

    def begin(self, entry: Entry) -> None:
        """Take a place, until `end`. Raises ResourceExhausted."""
        if entry.limit is not None and self.running >= entry.limit:
            raise _beyond(f"may have {entry.limit:,} calls under way", uniform(1, 1.5))
        if entry.bandwidth is not None and (owed := self.owed()) > 0:
            raise _beyond(f"may move {entry.bandwidth:,.0f} bytes a second", max(owed, SOONEST))
        if entry.rate is not None:
            now = monotonic()
            due = max(self._due, now)
            early = due - now - max(0.0, 1 - 1 / entry.rate)
            if early > 0:
                raise _beyond(f"may make {entry.rate:g} calls a second", early)
            self._due = due + 1 / entry.rate
        self.running += 1

    def end(self) -> None:
        self.running -= 1

    def is_idle(self) -> bool:
        """Whether it is like a new one: no call is under way, and all are paid for."""
        return not self.running and max(self._due, self._paid) <= monotonic()

    def pay(self, bandwidth: float, size: int) -> None:
        """So many bytes were moved."""
        self._paid = max(self._paid, monotonic()) + size / bandwidth

    def owed(self) -> float:
        """Seconds until all but the last second's worth of bytes are paid for; 0 or less where they are."""
        return self._paid - monotonic() - BURST


class Shares:
    """Those of all keys that have a limit, while they use it. One that `of` gives is begun before the next is asked for."""

    def __init__(self) -> None:
        self._shares: dict[str, Share] = {}
        self._most = LEAST  # kept, before those are looked for that need not be

    def __len__(self) -> int:
        return len(self._shares)

    def of(self, entry: Entry) -> Share | None:
        """What a key uses; None for one without limits."""
        if entry.limit is None and entry.rate is None and entry.bandwidth is None:
            return None
        share = self._shares.get(entry.id)
        if share is None:
            if len(self._shares) >= self._most:  # keys are made and revoked for as long as a server runs
                self._shares = {id: one for id, one in self._shares.items() if not one.is_idle()}
                self._most = max(LEAST, 2 * len(self._shares))  # so that looking is no work, for each that comes
            share = self._shares[entry.id] = Share()
        return share


def _beyond(what: str, retry_after: float) -> ResourceExhausted:
    text = f"this key {what}, and does; come back later"
    count("refusals", "key")
    return ResourceExhausted(text, retry_after=round(retry_after, 3), details={"limit": "caller"})
