"""What waits for a batch: items, what each comes from, and those that may be in one batch."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Self

import msgspec

from xooai.call import entered

__all__ = ["NOTHING", "Before", "Group", "Item", "Run"]

Run = Callable[[Sequence["Item"], Mapping[str, Any], "Before"], Awaitable[Sequence[Any]]]
"""Calls the handler with items whose other arguments are alike; gives a reply, or an exception, for each. The last is what it
comes from, itself among the batches.
"""

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})  # what no handler can change


class Before(msgspec.Struct, frozen=True):
    """What an item comes from: how many servers its call came through, the batches that wait for it, wherever they run, and how
    often its endpoint has called itself in this process.
    """

    hops: int = 0
    batches: frozenset[str] = frozenset()
    depth: int = 0

    @classmethod
    def of(cls, items: Sequence[Item]) -> Self:
        """What a batch comes from."""
        if len(items) == 1:
            return items[0].before  # type: ignore[return-value]
        before = [item.before for item in items]
        return cls(
            max(one.hops for one in before),
            frozenset().union(*(one.batches for one in before)),
            max(one.depth for one in before),
        )


NOTHING = Before()


class Item:
    """What one caller gave, and who waits for its reply. `came` and `deadline` are monotonic seconds.

    `before` is what it comes from; `run` calls the handler, as where the item came in.
    """

    __slots__ = ("before", "came", "deadline", "future", "run", "timing", "value", "weight")

    def __init__(self, run: Run, value: Any, weight: float, came: float, deadline: float | None) -> None:
        self.run = run
        self.value, self.weight, self.came, self.deadline = value, weight, came, deadline
        self.before = NOTHING
        call = entered.get()
        self.timing = None if call is None or call.endpoint.batch is None else call.timing  # not that of a handler
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Group:
    """Items that wait and may be in one batch: their other arguments are alike."""

    __slots__ = ("_arguments", "_is_copied", "items", "key", "weight")

    def __init__(self, key: Hashable, arguments: Mapping[str, Any]) -> None:
        self.key, self._arguments = key, arguments
        self._is_copied = isinstance(key, bytes) and not _PLAIN.issuperset(map(type, arguments.values()))
        self.items: deque[Item] = deque()
        self.weight = 0.0

    def arguments(self) -> Mapping[str, Any]:
        """The arguments for one run of the handler: what it does to them, no other caller sees."""
        return copy.deepcopy(self._arguments) if self._is_copied else self._arguments
