"""Calls made anew by their client: only where they surely have not run or may run twice, some times, and within a budget.

The rules are those of gRPC (https://github.com/grpc/proposal/blob/master/A6-client-retries.md), over every driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import uniform
from time import monotonic
from typing import TypeVar

from msgspec.structs import replace

from xooai.driver import Head
from xooai.errors import Code, DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable, XooaiError
from xooai.layers.repeated import By, whoever
from xooai.metadata import ATTEMPT_HEADER, IDEMPOTENCY_KEY
from xooai.tally import count

__all__ = ["MOST", "RETRY", "TOKENS", "Retries", "is_of_the_moment", "is_turned_away", "numbered"]

RETRY = 3  # times that a call is made anew: with the pauses, a second in which a server may come back
MOST = 10  # times: more only keeps a caller waiting for a server that is away
FIRST = 0.1  # seconds before a call is made anew, doubled each time,
LONGEST = 1.0  # up to so many
JITTER = 0.2  # a part of a pause, more or less: those that failed together do not come back together
PATIENCE = 30.0  # seconds: whom a server asks to wait for longer learns that at once
TOKENS = 10.0  # of the budget: a call that fails takes one, one that goes well gives a tenth,
_EARNED = 0.1
_ENOUGH = TOKENS / 2  # and nothing is made anew with so few left: a server that has trouble is not given more to do

T = TypeVar("T")


class Retries:
    """How often one client makes a call anew, and the budget that its calls share.

    Used from any thread without a lock: a token that is counted twice or never does no harm.
    """

    __slots__ = ("retry", "spent")

    def __init__(self, retry: int = RETRY) -> None:
        """Raises InvalidArgument."""
        if type(retry) is not int or not 0 <= retry <= MOST:
            raise InvalidArgument(
                f"retry={repr(retry)[:80]} is not how many times a call may be made anew: 0 for never, to {MOST}"
            )
        self.retry = retry
        self.spent = 0.0
        """Tokens that are gone; a call that goes well looks at this first."""

    def earn(self) -> None:
        """A call went well."""
        self.spent = max(0.0, self.spent - _EARNED)

    def take(self) -> bool:
        """Whether the budget allows a second attempt beside one that has not failed; it takes a token."""
        if TOKENS - self.spent <= _ENOUGH:
            return False
        self.spent += 1
        return True

    async def again(
        self, error: XooaiError, send: Callable[[Head], Awaitable[T]], head: Head, may_run_twice: bool, began: float
    ) -> T:
        """What a call gives that failed with `error`, and is made anew where that is right; else the error of the last attempt.

        `began` in monotonic seconds is when the time of the call began, which all attempts share.
        """
        end = None if head.timeout is None else began + head.timeout
        may_run_twice = may_run_twice or IDEMPOTENCY_KEY in head.metadata
        made, has_run = 0, False
        try:
            while True:
                left = None if end is None else end - monotonic()
                pause = self._pause(error, made, left, may_run_twice)
                has_run |= not (error.never_ran or is_turned_away(error))
                if pause is None:
                    raise _last(error, made, has_run)
                await asyncio.sleep(pause)
                made += 1
                try:
                    return await send(numbered(head, made, end))
                except XooaiError as failed:
                    error = failed
        finally:
            del error  # or it would hold itself, by the frames that it came through

    async def wait(self, error: XooaiError, made: int, end: float | None) -> bool:
        """Wait until a call is worth being opened anew that surely has not begun; whether it is."""
        left = None if end is None else end - monotonic()
        pause = self._pause(error, made, left, may_run_twice=False)
        if pause is None:
            return False
        await asyncio.sleep(pause)
        return True

    def _pause(self, error: XooaiError, made: int, left: float | None, may_run_twice: bool) -> float | None:
        """Seconds until the next attempt; None where there is none."""
        if not is_of_the_moment(error):
            return None
        self.spent = min(TOKENS, self.spent + 1)
        if made >= self.retry or TOKENS - self.spent <= _ENOUGH or not _may(error, may_run_twice):
            return None
        asked = error.details.get("retry_after")
        if isinstance(asked, int | float):
            if not 0 <= asked <= PATIENCE:
                return None
            pause = asked * uniform(1, 1 + JITTER)
        else:
            pause = min(LONGEST, FIRST * 2**made) * uniform(1 - JITTER, 1 + JITTER)
        if left is not None and pause >= left:
            return None
        count("retries", Code(error.code).name)
        return pause


def is_turned_away(error: XooaiError) -> bool:
    """Whether a server says that it has not begun with a call, and when to come back.

    Where a handler over there passes on what another server told it, it may have done something before.
    """
    told = isinstance(error.details.get("retry_after"), int | float)
    is_of_others = "node" in error.details or error.details.get("began") is True
    return error.remote and told and not is_of_others and isinstance(error, Unavailable | ResourceExhausted)


def is_of_the_moment(error: XooaiError) -> bool:
    """Whether another attempt might end otherwise."""
    if isinstance(error, ResourceExhausted):
        return error.reason == "load"
    return isinstance(error, Unavailable | DeadlineExceeded)


def _may(error: XooaiError, may_run_twice: bool) -> bool:
    if error.details.get("retry") is False:  # so the server says
        return False
    by = whoever()
    if is_turned_away(error):
        return by is By.NOBODY
    if by is By.ALL:
        return False
    if error.never_ran:
        return True
    # What failed behind the server was made anew by that.
    return may_run_twice and not error._has_answer and error.details.get("began") is not True


def numbered(head: Head, made: int, end: float | None) -> Head:
    """The head of another attempt, which tells how many came before."""
    timeout = None if end is None else end - monotonic()
    return replace(head, timeout=timeout, metadata={**head.metadata, ATTEMPT_HEADER: str(made)})


def _last(error: XooaiError, made: int, has_run: bool) -> XooaiError:
    """The error that a call ends with."""
    if made:
        error.add_note(f"so ended the last of {made + 1} attempts")
    if has_run:
        error.never_ran = False
    return error
