"""Streams through a Flow: what a node gives that one goes through, item by item.

Such a node runs when somebody takes what it gives: the node behind it, or the Flow's caller. So each waits for the next one,
and leaving the last ends all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from xooai.call import current
from xooai.errors import DeadlineExceeded, InvalidArgument, Unavailable, XooaiError
from xooai.flow.failure import Before, cause_of, failed, is_for_others, misgiven
from xooai.flow.targets import Target
from xooai.flow.trace import State, Trace
from xooai.payload import settled
from xooai.schema import Schema
from xooai.streams import Stream, fed

if TYPE_CHECKING:
    from xooai.layers.trace import StageSpan

__all__ = [
    "LEFT_OUT",
    "PATIENCE",
    "Incoming",
    "Opening",
    "Patience",
    "Source",
    "Stage",
    "Teller",
    "nothing",
    "settling",
    "single",
    "through",
]

PATIENCE = 0.25  # seconds that a chain waits for what it is at once a node has failed: it ends within half a second

LEFT_OUT: Any = object()
"""What stands for the reply of a node that was not called."""

_END: Any = object()
Opening = Callable[[], AbstractAsyncContextManager[Stream]]


class Source(Protocol):
    """Where a stream comes from."""

    failure: XooaiError | None
    """What it has ended with, None where it has not, or well."""

    def items(self) -> AsyncGenerator[Any, None]:
        """The items; once."""


class Incoming:
    """The stream of the Flow's caller. What is wrong with it is no node's fault."""

    failure: XooaiError | None = None

    def __init__(self, given: AsyncIterator[Any]) -> None:
        self._given = given

    async def items(self) -> AsyncGenerator[Any, None]:
        try:
            async for item in self._given:
                yield item
        except XooaiError as error:
            self.failure = error
            raise


class Teller:
    """What becomes of one node while a stream goes through it, for whoever runs the Flow. `late` makes the error where the time
    for all of it has passed, for the node that the Flow's caller takes items of.
    """

    def __init__(
        self,
        id: str,
        target: Target,
        needs: Sequence[str],
        busy: dict[str, None],
        trace: Trace | None,
        late: Callable[[], DeadlineExceeded] | None,
    ) -> None:
        """`needs` are the nodes that give it what it is called with."""
        self._id, self._target, self._needs = id, target, needs
        self._busy, self._trace, self._late = busy, trace, late

    span: StageSpan | None = None
    """The node's, where somebody traces."""

    def began(self) -> None:
        if self.span is not None:
            self.span.began()
        if self._trace is not None:
            self._trace.begin(self._id)
        self._busy[self._id] = None

    def ended(self, state: State, items: int, failure: XooaiError | None) -> None:
        """It has given so many items."""
        if self.span is not None:
            self.span.ended(items, failure)
        self._busy.pop(self._id, None)
        if self._trace is not None:
            self._trace.end(self._id, self._target, state, items)

    def told(self, error: BaseException) -> XooaiError:
        """The error that names the node, or the one before it that the error comes from."""
        if self._needs and isinstance(error, InvalidArgument) and error.errors:
            error = misgiven(self._needs, error)
        return failed(self._id, self._target, error)

    @property
    def late(self) -> DeadlineExceeded | None:
        """The error where the time for the Flow has passed."""
        return self._late() if self._late is not None and current().remaining == 0 else None


class Stage:
    """What a node gives that a stream goes through. It runs while somebody takes it."""

    failure: XooaiError | None = None

    def __init__(self, teller: Teller, gives: Callable[[], AsyncGenerator[Any, None]]) -> None:
        self._teller, self._gives = teller, gives

    async def items(self) -> AsyncGenerator[Any, None]:
        """The items, each when it is there; then the first error of the chain. Raises XooaiError."""
        state, task, count = State.CANCELLED, asyncio.current_task(), 0
        self._teller.began()
        try:
            async with aclosing(self._gives()) as items:
                async for item in items:
                    count += 1
                    yield item
            state = State.DONE
        except BaseException as error:
            if isinstance(error, GeneratorExit):
                raise
            if is_for_others(error, task):
                late = self._teller.late
                if late is None:  # somebody left
                    raise
                raise late from None
            state = State.FAILED
            self.failure = self._teller.told(error)
            raise self.failure from cause_of(self.failure, error)
        finally:
            self._teller.ended(state, count, self.failure)


async def settling(schema: Schema, given: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The items with documents in place of the dicts that stand for them, which are a stranger's."""
    async with aclosing(given) as items:
        async for item in items:
            yield settled(schema, item)


async def nothing() -> AsyncGenerator[Any, None]:
    """The items of a node that was not called."""
    none: tuple[Any, ...] = ()
    for item in none:
        yield item


class Patience:
    """Once something has failed, others are waited for no longer than that; the time of who takes the items does not count."""

    _give_up: Callable[[], None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _is_waiting = False
    _since = 0.0

    def __init__(self) -> None:
        self._left = PATIENCE

    def fail(self, give_up: Callable[[], None]) -> None:
        """Call `give_up` where somebody waits for too long from now on."""
        if self._give_up is None:
            self._give_up = give_up
            if self._is_waiting:
                self._start()

    def begin(self) -> None:
        self._is_waiting = True
        if self._give_up is not None:
            self._start()

    def end(self) -> None:
        self._is_waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left -= monotonic() - self._since

    def _start(self) -> None:
        assert self._give_up is not None
        self._since = monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self._left), self._give_up)


async def through(opening: Opening, source: Source | None) -> AsyncGenerator[Any, None]:
    """What an endpoint gives that streams; it is sent the items of `source`."""
    patience = Patience()

    def fail(stream: Stream, error: Exception) -> None:
        cause = error if source is None or source.failure is None else _cut_off()
        patience.fail(lambda: stream._fail(cause))

    with _of(source):
        async with opening() as stream, fed(_sent(stream, source), fail):
            while True:
                patience.begin()
                item = await anext(stream, _END)
                patience.end()
                if item is _END:
                    break
                yield item


async def single(opening: Opening, source: Source) -> Any:
    """The one reply of an endpoint that takes a stream: the items of `source`."""

    def fail(stream: Stream, error: Exception) -> None:
        stream._fail(error if source.failure is None else _cut_off())

    with _of(source):
        async with opening() as stream, fed(_sent(stream, source), fail):
            return await stream.single()


async def _sent(stream: Stream, source: Source | None) -> tuple[Stream, Any]:
    if source is None or stream.endpoint.items is None or not stream.endpoint.items.facts.documents:
        return stream, None if source is None else source.items()
    return stream, settling(stream.endpoint.items, source.items())


def _cut_off() -> Unavailable:
    """What a call ends with whose stream was cut off; why is told in its place."""
    return Unavailable("the stream was cut off")


@contextmanager
def _of(source: Source | None) -> Iterator[None]:
    """Raise Before where the source has failed, whatever came of that: a node may have taken it for the end."""
    try:
        yield
    except Exception as error:
        if source is not None and source.failure is not None:
            raise Before(source.failure) from error
        raise
    if source is not None and source.failure is not None:
        raise Before(source.failure)
