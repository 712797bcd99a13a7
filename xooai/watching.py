"""Watching the calls that a site answers: what each came to, for those who log and trace.

Nobody watches unless it is switched on, and then a call costs what they do; else nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Protocol

from xooai.call import Call, StreamCall
from xooai.driver import Channel, Outcome
from xooai.errors import Code

__all__ = ["Make", "Watch", "Watcher", "watched"]


class Watcher(Protocol):
    """Who watches one call."""

    def began(self, watch: Watch) -> None:
        """There is a handler for it, which is about to run."""

    def gave(self, watch: Watch) -> None:
        """The first item of a stream is about to go to the caller."""

    def ended(self, watch: Watch) -> None:
        """It is over; called once, in the task that began it."""


Make = Callable[[Channel, bool], Watcher]
"""Begins to watch a call that came through a channel, and says whether there is an endpoint at its path."""


class Watch:
    """One call, as far as it has come. Bytes are those of frames."""

    call: Call | None = None
    """None where there is no handler for it."""
    outcome: Outcome | None = None
    """How it ended, None where whoever ran it was stopped: in most cases its caller has left."""
    received = sent = 0
    items_received = items_sent = 0

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.began_at = perf_counter()
        self._watchers: list[Watcher] = []

    def by(self, watchers: Iterable[Watcher]) -> None:
        """Tell these."""
        self._watchers.extend(watchers)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return perf_counter() - self.began_at

    @property
    def code(self) -> Code | int:
        """How it ended."""
        if self.outcome is None:
            return Code.CANCELLED
        code = self.outcome.code
        return Code(code) if code in Code._value2member_map_ else code

    def began(self, call: Call) -> None:
        """It has a handler, and what goes in and out is counted from here on."""
        self.call = call
        self._count_received(call)
        if isinstance(call, StreamCall):
            self._count_sent(call)
        for watcher in self._watchers:
            watcher.began(self)

    def ended(self, outcome: Outcome, reply: bytes | None) -> None:
        """It has come to this; where that cannot be written, to another."""
        self.outcome = outcome
        if reply is not None:
            self.sent, self.items_sent = len(reply), 1

    def close(self) -> None:
        """Nothing more comes."""
        for watcher in reversed(self._watchers):
            watcher.ended(self)

    def _count_received(self, call: Call) -> None:
        receive = call.receive

        async def counted() -> bytes | None:
            frame = await receive()
            if frame is not None:
                self.received += len(frame)
                self.items_received += 1
            return frame

        call.receive = counted  # type: ignore[method-assign]

    def _count_sent(self, call: StreamCall) -> None:
        if not call.endpoint.gives_stream:
            return
        send, offer = call.send, call.offer

        def count(frame: bytes) -> None:
            if not self.items_sent:
                for watcher in self._watchers:
                    watcher.gave(self)
            self.sent += len(frame)
            self.items_sent += 1

        def sending(frame: bytes, codec: str) -> Awaitable[None]:
            count(frame)
            return send(frame, codec)

        def offering(frame: bytes) -> bool:
            is_taken = offer(frame)
            if is_taken:
                count(frame)
            return is_taken

        call.send, call.offer = sending, offering  # type: ignore[method-assign]


async def watched(
    answer: Callable[[Channel, Watch], Awaitable[None]], channel: Channel, makes: Iterable[Make], is_known: bool
) -> None:
    """Answer a call while it is watched."""
    watch = Watch(channel)
    watch.by(make(channel, is_known) for make in makes)
    try:
        await answer(channel, watch)
    finally:
        watch.close()
