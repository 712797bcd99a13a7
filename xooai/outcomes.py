"""How a call ended, as its caller is told: from what its handler gave or raised."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from xooai.call import Call, entered
from xooai.driver import EMPTY, Channel, Outcome, Shape
from xooai.errors import Code, XooaiError
from xooai.lazy import lazy
from xooai.log import logger
from xooai.memory import MemoryChannel
from xooai.metadata import ID_HEADER, TIMES

if TYPE_CHECKING:
    from xooai import naming
else:
    naming = lazy("xooai.naming")

__all__ = ["failure", "is_for_others", "success", "unwritten"]

_log = logger("xooai")
_OK: dict[str, Outcome] = {}
"""Outcomes are not changed: one for each codec; as many as there are media types of replies."""
_OK_LIMIT = 64
_PASSING = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED)
"""Errors of servers behind this one: here the call has begun, and has been made anew there where that was right."""


def is_for_others(error: BaseException, call: Call, in_memory: MemoryChannel | None) -> bool:
    """Whether this is no failure of the call, but stops whoever runs it: a handler may raise the same errors by itself."""
    if isinstance(error, asyncio.CancelledError):
        return _is_cancelled()
    if isinstance(error, GeneratorExit):  # Python closes, in any context, a coroutine that is waited for no more
        return entered.get() is not call
    # Ctrl-C comes to the main thread. Servers hear it as a signal, so there it is of whoever posts to himself.
    return (
        isinstance(error, KeyboardInterrupt)
        and in_memory is not None
        and threading.current_thread() is threading.main_thread()
    )


def _is_cancelled() -> bool:
    """Whether the task of the call was cancelled: by the driver, or by whoever calls in this process."""
    if asyncio._get_running_loop() is None:  # the call runs in its caller's thread, without a task
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _beside(call: Call) -> Mapping[str, str]:
    """What goes beside the reply of a call, or its error."""
    metadata: Mapping[str, str] = call.reply_metadata if call.has_reply_metadata else EMPTY
    if call.head.is_named:
        metadata = {ID_HEADER: call.id, **metadata}
    if call.timing is None or not call.head.is_timed or call.head.shape:
        return dict(metadata) if metadata else EMPTY
    told, own = call.timing.told(), metadata.get(TIMES)
    return {**metadata, TIMES: f"{own}, {told}" if own else told}


def success(call: Call) -> Outcome:
    """How a call ended that raised nothing. Raises RuntimeError where nobody answered it."""
    if call.reply is None and not call.endpoint.shape & Shape.SERVER:
        raise RuntimeError("a layer neither called the service nor answered")
    codec = call.reply_codec
    if call._reply_metadata or call.head.is_timed or call.head.is_named:
        return Outcome(codec=codec, metadata=_beside(call))
    found = _OK.get(codec)
    if found is None:
        found = Outcome(codec=codec)
        if len(_OK) < _OK_LIMIT:
            _OK[codec] = found
    return found


def unwritten(error: Exception, call: Call, channel: Channel) -> Outcome:
    """How a call ended whose end could not be written as it was."""
    found = failure(RuntimeError(f"the reply cannot be written: {error}"), call, channel)
    return Outcome(found.code, found.message, id=found.id)


def failure(error: BaseException, call: Call | None, channel: Channel) -> Outcome:
    """How a call ended that raised: our errors as they are; of anything else the peer learns an id, the log the rest.

    What went wrong when this process read a ref of its own is told to callers within it, and to no peer.
    """
    is_from_peer = True
    if isinstance(channel, MemoryChannel):
        channel.cause, is_from_peer = error, False
    metadata = _beside(call) if call is not None else EMPTY
    if isinstance(error, XooaiError) and error.code != Code.UNKNOWN and not (is_from_peer and error._is_of_here):
        message, details = error.message, error.details
        if is_from_peer and error._to_peers is not None:
            message, details = error._to_peers[0], dict(error._to_peers[1])
        if error._server and call is not None and error.code in _PASSING:
            details = {**details, "began": True}
        id = error.id or (naming.given_id(channel.head.metadata) or naming.new_id() if call is None else call.id)
        return Outcome(error.code, message, details, id, metadata=metadata)
    assert call is not None
    named = {"request_id": call.id, "trace_id": call.trace_id or ""}
    _log.error("call %s to %s/%s failed", call.id, call.endpoint.owner, call.endpoint.name, exc_info=error, extra=named)
    return Outcome(
        Code.INTERNAL,
        "the handler failed; the server's log tells more under this id",
        id=call.id,
        metadata=metadata,
    )
