"""How much one post may set going: calls at once, and calls in all."""

from __future__ import annotations

from contextvars import ContextVar

from xooai.errors import ResourceExhausted

__all__ = ["AT_ONCE", "CALLS", "Allowance", "Budget"]

AT_ONCE = 100  # calls of one run: as many as one server takes over HTTP's connections, or gRPC's streams; others wait
CALLS = 100_000  # of one post, minutes of work: what a request of a few bytes sets going has an end


class Budget:
    """The calls that a post may still make, those of Flows inside of its own and of Flows that its handlers post to too."""

    def __init__(self) -> None:
        self.left = CALLS
        self.is_over = False

    def take(self, calls: int) -> None:
        """Raises ResourceExhausted where that is more than there is."""
        self.left -= calls
        if self.left < 0:
            raise ResourceExhausted(
                f"one post may make {CALLS:,} calls, all Flows in it together, and this takes {-self.left:,} more; "
                "post what it is given in parts",
                reason="size",
            )


_spent: ContextVar[Budget | None] = ContextVar("xooai_flow_budget", default=None)


class Allowance:
    """The budget of the post that a run belongs to; what `with` gives."""

    __slots__ = ("_own", "_token")

    def __enter__(self) -> Budget:
        found = _spent.get()
        self._own: Budget | None = None
        if found is None or found.is_over:  # one that is over was left to a task that outlives its call
            found = self._own = Budget()
            self._token = _spent.set(found)
        return found

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.is_over = True
            _spent.reset(self._token)
