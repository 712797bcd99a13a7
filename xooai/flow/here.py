"""A run of a Flow in its caller's own thread: no loop, and no change of threads where one node follows another.

Of nodes that are ready at once one runs here. The others are offered to threads once that one has taken a moment: a node that
waits holds up none of them, and after one that does not the next runs here as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from threading import Lock
from typing import Any, NoReturn, TypeVar

from xooai.late import later, take_back
from xooai.sync import drive
from xooai.threads import Offer, Threads

__all__ = ["Here", "run_here", "run_in_line"]

T = TypeVar("T")

Node = Callable[[str], Coroutine[Any, Any, None]]
"""Makes the coroutine of a node, which never waits."""

Ended = Callable[[str], Sequence[str]]
"""Says which nodes are ready once one has ended."""


def run_here(first: Sequence[str], node: Node, ended: Ended, threads: Threads) -> None:
    """Run nodes, the `first` ones to begin with. Raises what the first that fails raises; what did not begin then never does."""
    here = Here(node, ended, threads)
    try:
        here.run(first)
    finally:
        here.end()


def run_in_line(
    line: Sequence[T],
    run: Callable[[T], str],
    ready: Callable[[int], Sequence[str]],
    made: Callable[[], Here],
    ended: Ended,
) -> None:
    """As `run_here`, of all nodes in an order in which they may `run` one by one, which gives the id of each.

    Once the one at some place has taken a moment, `ready` says which could run with it, that one first; then what is `made` runs
    those, and `ended` counts.
    """
    turns = _Turns(ready, made)
    number = later(turns.part)
    lock, at = turns.lock, 0
    try:
        for one in line:
            id = run(one)
            at += 1
            with lock:
                turns.at = at
                here = turns.here
            if here is not None:  # others were offered beside this one
                here.run(ended(id))
                return
    finally:
        take_back(number)
        turns.end()


class Here:
    """What is ready, offered to threads, and done by them."""

    def __init__(self, node: Node, ended: Ended, threads: Threads) -> None:
        self._node, self._ended, self._threads = node, ended, threads
        self._offers: deque[tuple[str, Offer]] = deque()
        self._done: SimpleQueue[tuple[str, Offer]] = SimpleQueue()
        self._count = 0  # of those that are offered, and have not ended

    def run(self, first: Sequence[str]) -> None:
        """Run these, and all that become ready, here and in threads."""
        ready, offers = deque(first), self._offers
        while ready or self._count:
            if ready:
                id = ready.popleft()
                while ready:
                    later(partial(self._threads.offer, self._kept(ready.popleft(), copy_context())))
            elif offers:
                id, offer = offers.pop()  # the one that a thread comes to last
                if not offer.take():
                    continue
                self._threads.spare(offer)
                self._count -= 1
            else:
                id, offer = self._done.get()
                self._count -= 1
                if offer.error is not None:
                    _fail(offer.error)
                ready.extend(self._ended(id))
                continue
            copy_context().run(drive, self._node(id))  # each on its own, as in threads
            ready.extend(self._ended(id))

    def offer(self, id: str, context: Context) -> None:
        """Have a thread run a node, unless it has run here before."""
        self._threads.offer(self._kept(id, context))

    def end(self) -> None:
        """Take back what no thread has come to."""
        for _, offer in self._offers:
            if offer.take():
                self._threads.spare(offer)

    def _kept(self, id: str, context: Context) -> Offer:
        offer = Offer(lambda: drive(self._node(id)), partial(_tell, id, self._done), context)
        self._offers.append((id, offer))
        self._count += 1
        return offer


class _Turns:
    """Whose turn it is in a line: that of who runs it, until it is parted by who looks at it from another thread."""

    __slots__ = ("_context", "_made", "_ready", "at", "here", "lock")

    def __init__(self, ready: Callable[[int], Sequence[str]], made: Callable[[], Here]) -> None:
        self._ready: Callable[[int], Sequence[str]] | None = ready
        self._made: Callable[[], Here] | None = made
        self._context = copy_context()
        self.lock = Lock()
        self.at = 0
        self.here: Here | None = None
        """What has others run beside the node at this place, once there are any."""

    def part(self) -> None:
        """Offer what could run beside the node whose turn it is."""
        with self.lock:
            if self._ready is not None and self._made is not None:
                beside = self._ready(self.at)[1:]
                here = self.here = self._made()  # from here on nothing runs in line, whatever comes of the offers
                self._ready = None
                for id in beside:
                    here.offer(id, self._context.copy())

    def end(self) -> None:
        """Offer nothing any more, and hold nothing of the run."""
        with self.lock:
            here = self.here
            self.here = self._ready = self._made = None
        if here is not None:
            here.end()


def _tell(id: str, done: SimpleQueue[tuple[str, Offer]], offer: Offer) -> None:
    done.put((id, offer))


def _fail(error: BaseException) -> NoReturn:
    raise error
