"""A run of a Flow in its caller's own thread: no loop, and no change of threads where one node follows another.

Of nodes that are ready at once one runs here, and the others are offered to threads: a node that waits holds up none of them, and
one that does not has ended before a thread got to it, so that the next runs here as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn

from xooai.sync import drive
from xooai.threads import Offer, Threads

__all__ = ["run_here"]


def run_here(
    first: Sequence[str],
    node: Callable[[str], Coroutine[Any, Any, None]],
    ended: Callable[[str], Sequence[str]],
    threads: Threads,
) -> None:
    """Run nodes, the `first` ones to begin with: `node` makes the coroutine of one, which never waits, and `ended` says which are
    ready once one has ended. Raises what the first that fails raises; those that did not begin then never do.
    """
    ready, offers, done = deque(first), deque[tuple[str, Offer]](), SimpleQueue[tuple[str, Offer]]()
    count = 0  # of those that are offered, and have not ended
    try:
        while ready or count:
            if ready:
                id = ready.popleft()
                while ready:
                    offers.append(_offered(ready.popleft(), node, threads, done))
                    count += 1
            elif offers:
                id, offer = offers.pop()  # the one that a thread comes to last
                if not offer.take():
                    continue
                threads.spare(offer)
                count -= 1
            else:
                id, offer = done.get()
                count -= 1
                if offer.error is not None:
                    _fail(offer.error)
                ready.extend(ended(id))
                continue
            copy_context().run(drive, node(id))  # each on its own, as in threads
            ready.extend(ended(id))
    finally:
        for _, offer in offers:
            if offer.take():
                threads.spare(offer)


def _offered(
    id: str,
    node: Callable[[str], Coroutine[Any, Any, None]],
    threads: Threads,
    done: SimpleQueue[tuple[str, Offer]],
) -> tuple[str, Offer]:
    offer = Offer(lambda: drive(node(id)), partial(_tell, id, done))
    threads.offer(offer)
    return id, offer


def _tell(id: str, done: SimpleQueue[tuple[str, Offer]], offer: Offer) -> None:
    done.put((id, offer))


def _fail(error: BaseException) -> NoReturn:
    raise error
