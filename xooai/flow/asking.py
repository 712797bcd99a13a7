"""Asking functions of the user's about replies: `join=` and `when=`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from xooai.errors import XooaiError
from xooai.flow.failure import Raised, is_for_others
from xooai.on_replies import OnReplies
from xooai.threads import Threads

__all__ = ["asked"]


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
