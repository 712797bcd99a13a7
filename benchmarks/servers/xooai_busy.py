"""An executor in xooai whose calls keep the interpreter busy, for about two milliseconds each."""

from xooai import Executor, post

TURNS = 40_000


class Busy(Executor):
    """Counts."""

    @post
    async def count(self) -> int:
        """Keep a core busy."""
        total = 0
        for number in range(TURNS):
            total += number
        return total
