"""Callers who try one wrong key after the other: told to stay away for a while, and of whom the log tells once a minute."""

from __future__ import annotations

from time import monotonic

from xooai.errors import ResourceExhausted, Unauthenticated, XooaiError
from xooai.layers.line import address_of
from xooai.log import logger
from xooai.tally import count

__all__ = ["WrongKeys"]

PERIOD = 60.0  # seconds in which wrong keys are counted, and between two lines in the log
ALLOWED = 20  # wrong keys of one address within it: more than a program sends whose key has just been replaced
KNOWN = 1024  # addresses that are counted: as many as there are connections

_log = logger("xooai.keys")


class WrongKeys:
    """The wrong keys of late. A right one is let in wherever it comes from: many may stand behind one address."""

    def __init__(self) -> None:
        self._addresses: dict[str, int] = {}
        self._since = self._told = -PERIOD  # monotonic seconds
        self._untold = 0

    def instead(self, error: XooaiError, peer: str) -> XooaiError:
        """What a caller is refused with who sent a wrong key: the error, or that there were too many."""
        if not isinstance(error, Unauthenticated):
            return error
        now, address = monotonic(), address_of(peer)
        if now - self._since >= PERIOD:
            self._since = now
            self._addresses.clear()
        if address not in self._addresses and len(self._addresses) >= KNOWN:
            del self._addresses[next(iter(self._addresses))]
        number = self._addresses[address] = self._addresses.get(address, 0) + 1
        self._tell(now, address)
        if number <= ALLOWED:
            return error
        after = self._since + PERIOD - now
        text = f"more than {ALLOWED} wrong keys came from this address within a minute"
        count("refusals", "wrong_keys")
        return ResourceExhausted(text, retry_after=round(after, 3), details={"limit": "caller"})

    def _tell(self, now: float, address: str) -> None:
        self._untold += 1
        if now - self._told < PERIOD:
            return
        where = f"the last one from {address}" if address else "the last one from an unknown address"
        _log.warning("calls with keys that are not known here were refused: %d, %s", self._untold, where)
        self._told, self._untold = now, 0
