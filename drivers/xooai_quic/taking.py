"""How fast the client of a connection takes what it was answered, also where the answer is whole and its call is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xooai_quic.limits import Limits

__all__ = ["Taking"]


class Taking:
    """Looked at by the sweep. Pure state, but for `unsent`, which tells the bytes of a stream that were not sent yet.

    Replies of one message are measured all together, since they share what the network carries, and over a long time: a client
    may open its window in large steps. That of a stream may think about an item, so the rest of one that has ended only must not
    stand still.
    """

    def __init__(self, limits: Limits, unsent: Callable[[int], int]) -> None:
        self._limits = limits
        self._unsent = unsent
        self._replies: set[int] = set()
        self._rests: dict[int, tuple[float, int]] = {}
        self._mark: tuple[float, int] | None = None

    def ended(self, stream_id: int, is_stream: bool, now: float) -> None:
        """All of an answer was written; some of it may be unsent."""
        if is_stream:
            self._rests[stream_id] = now, 0
        else:
            self._replies.add(stream_id)

    @property
    def waiting(self) -> int:
        """Bytes of answers that have ended and were not sent yet."""
        return sum(map(self._unsent, (*self._replies, *self._rests)))

    def slow(self, writing: Iterable[int], written: int, now: float) -> list[int]:
        """The streams to be given up. `writing` are replies that wait for room.

        `written` counts all bytes that were ever written but for those of open streams that are not sent.
        """
        return [*self._slow_replies(set(writing), written, now), *self._slow_rests(now)]

    def _slow_replies(self, writing: set[int], written: int, now: float) -> set[int]:
        unsent = {stream_id: self._unsent(stream_id) for stream_id in self._replies}
        self._replies = {stream_id for stream_id, left in unsent.items() if left}
        if not (self._replies or writing):
            self._mark = None
            return set()
        moved = written - sum(unsent.values())
        since, before = self._mark or (now, moved)
        found: set[int] = set()
        if now - since > self._limits.stall:
            if moved - before < self._limits.rate * (now - since):
                found, self._replies = self._replies | writing, set()
            since, before = now, moved
        self._mark = since, before
        return found

    def _slow_rests(self, now: float) -> list[int]:
        found: list[int] = []
        for stream_id, (since, before) in list(self._rests.items()):
            left = self._unsent(stream_id)
            if left and left == before and now - since > self._limits.stall:
                found.append(stream_id)
            if not left or (found and found[-1] == stream_id):
                del self._rests[stream_id]
            elif left != before:
                self._rests[stream_id] = now, left
        return found
