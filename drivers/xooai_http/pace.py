"""How long a connection has been waiting for one thing, and how fast that moves: what deadlines are judged by."""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """Looked at by a sweep from time to time, so that the calls between two sweeps cost nothing."""

    __slots__ = ("_base", "_since", "_state")

    def __init__(self) -> None:
        self._state: tuple[object, ...] = ()
        self._since = 0.0
        self._base = 0

    def age(self, state: tuple[object, ...], now: float, moved: int) -> float:
        """Seconds since `state` was first seen; its parts are compared by identity. `moved` counts bytes."""
        seen = self._state
        if len(seen) != len(state) or any(part is not other for part, other in zip(seen, state, strict=True)):
            self._state = state
            self.restart(now, moved)
        return now - self._since

    def is_slow(self, now: float, moved: int, rate: int) -> bool:
        """Whether less than `rate` bytes a second moved since the state began, or since the last restart."""
        return abs(moved - self._base) < rate * (now - self._since)

    def restart(self, now: float, moved: int) -> None:
        self._since = now
        self._base = moved
