"""Asking functions of the user's about replies: `join=` and `when=`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from xooai.errors import XooaiError
from xooai.flow.failure import Raised, is_for_others
from xooai.flow.unread import look
from xooai.on_replies import OnReplies
from xooai.threads import Threads
from xooai.walk import documents

__all__ = ["Apart", "asked"]

_UNCHANGING = frozenset({str, bytes, int, float, bool, type(None)})


class Apart(Mapping[str, Any]):
    """Values as a function is given them: read where they are taken, and as copies, since it may change them in place.

    Those that are `alone`, which nobody else reads, are given as they are.
    """

    def __init__(self, values: Mapping[str, Any], alone: Collection[str] = ()) -> None:
        self._values, self._alone = values, alone

    def __getitem__(self, name: str) -> Any:
        value = look(self._values[name])
        return value if name in self._alone else _copied(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _copied(value: Any) -> Any:
    """The value in lists, dicts and models of its own. Documents do not change: they stay, with what was read of them."""
    if type(value) in _UNCHANGING:
        return value
    same: dict[int, Any] = {}
    for doc in documents(value):
        if type(doc)._own_fields:  # in which there may be lists; whose it is stays, and so does what it has read
            same |= {id(kept): kept for name, kept in doc.__dict__.items() if name.startswith("_")}
        else:
            same[id(doc)] = doc
    return deepcopy(value, same)


async def asked(function: OnReplies, values: Mapping[str, Any], threads: Threads, what: str) -> Any:
    """What a function makes of replies: a `def` may read documents, so it runs in a thread.

    Raises Raised, from the cause, for what is none of our errors; `what` is the function in a text.
    """
    task = asyncio.current_task()
    try:
        places, names = function.arguments(values)
        if inspect.iscoroutinefunction(function.function):
            result = function.function(*places, **names)
        else:
            result = await threads.run(partial(function.function, *places), names)
        return await result if inspect.isawaitable(result) else result
    except XooaiError:
        raise
    except BaseException as error:
        if is_for_others(error, task):
            raise
        raise Raised(what) from error
