"""The in-process channel: a unary call whose frames pass through memory, without a task, a queue or a loop."""

from __future__ import annotations

from xooai.driver import EMPTY, Head, Outcome
from xooai.errors import Code, Internal, Unavailable, XooaiError, error_from
from xooai.metadata import metadata_of
from xooai.origin import NO_MARKS, Marks

__all__ = ["MemoryChannel"]


class MemoryChannel:
    """One call within this process. `marks` go beside the frames: the refs in them that came from a peer."""

    marks: Marks = NO_MARKS
    inline: bool = False
    reply: bytes | None = None
    reply_marks: Marks = NO_MARKS
    outcome: Outcome | None = None
    cause: BaseException | None = None

    def __init__(self, head: Head, request: bytes | None) -> None:
        """`request` is None where the arguments go beside, as the objects that they are."""
        self.head = head
        self._request = request

    @property
    def held(self) -> int:
        """See `xooai.driver.Holding`."""
        return 0 if self._request is None else len(self._request)

    async def receive(self) -> bytes | None:
        frame, self._request = self._request, None
        return frame

    async def send(self, frame: bytes) -> None:
        raise Internal("a unary call has one reply, given to end()")

    async def end(self, frame: bytes | None = None, outcome: Outcome | None = None) -> None:
        if outcome is None:
            outcome = Outcome()
        elif outcome.metadata is not EMPTY:
            metadata_of(outcome.metadata)  # refused here as any other driver refuses it
        self.reply = frame
        self.outcome = outcome

    def abort(self) -> None:
        self.outcome = self.outcome or Outcome(Code.UNAVAILABLE, "the call was ended early")

    def result(self) -> bytes:
        """The reply's frame. Raises the error that the call ended with, its cause attached."""
        outcome = self.outcome
        if outcome is None:
            raise Unavailable("the call ended without an answer")
        if outcome.code != Code.OK or self.reply is None:
            error: XooaiError = error_from(outcome.code, outcome.message, outcome.details, outcome.id)
            error.remote = False
            if isinstance(self.cause, XooaiError):
                error._is_of_here, error._to_peers = self.cause._is_of_here, self.cause._to_peers
            raise error from self.cause
        return self.reply
