"""What a Flow's caller is told where a node failed: one error that names the node, where it ran, and why."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xooai.call import current
from xooai.errors import Code, Internal, InvalidArgument, Unavailable, XooaiError, error_from
from xooai.log import logger

if TYPE_CHECKING:
    from xooai.flow.targets import Target

__all__ = ["Before", "Raised", "cause_of", "failed", "is_for_others", "misgiven"]

_log = logger("xooai")


class Raised(Exception):
    """What code of the user's raised beside the call, and is none of our errors: it is the cause, and `what` says whose."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Before(Exception):
    """A node cannot end, since the stream that it takes has ended by `failure`, which names whose that is."""

    def __init__(self, failure: XooaiError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def failed(id: str, target: Target, error: BaseException) -> XooaiError:
    """The error of a node, of the same type as its own, to be raised from it.

    What is none of ours comes of `join=` or `when=`, or of a driver: it goes to the log, and whoever called learns an id.
    """
    if isinstance(error, Before):
        return error.failure
    request = error.id if isinstance(error, XooaiError) and error.id else current().id
    host = target.host
    if host and isinstance(error, XooaiError) and error._server:  # of several the one that failed
        host = error._server
    where = f"node {id!r} ({target.path} {f'at {host}' if host else 'in process'})"
    told = f" (request {request})"
    code: Code = Code.INTERNAL
    details: dict[str, Any] = {}
    if isinstance(error, XooaiError):
        code = Code.INTERNAL if error.code == Code.UNKNOWN else error.code
        message, details = error.message.removesuffix(told), dict(error.details)  # a Flow inside of this one told it
    else:
        what, cause = (error.what, error.__cause__) if isinstance(error, Raised) else ("what calls it", error)
        _log.error("call %s: %s failed: %s raised", request, where, what, exc_info=cause)
        message = f"{what} raised an error; the log tells more under this id"
    named = {"node": id, "endpoint": target.path}
    made = error_from(code, f"{where} failed: {message}{told}", {**details, **named, "host": host}, request)
    outside, rest = _to_peers(error, host, message, details, told)
    made._to_peers = f"node {id!r} ({target.path}) failed: {outside}{told}", {**rest, **named}
    made.remote = isinstance(error, XooaiError) and error.remote
    made._is_of_here = isinstance(error, XooaiError) and error._is_of_here
    return made


def cause_of(told: XooaiError, error: BaseException) -> BaseException | None:
    """What an error that was told comes from."""
    return told.__cause__ or (error.__cause__ if isinstance(error, Raised) else error)


def _to_peers(
    error: BaseException, host: str, message: str, details: dict[str, Any], told: str
) -> tuple[str, dict[str, Any]]:
    """Message and details without the servers behind this one: who calls a Flow that is served has no business with them."""
    if isinstance(error, XooaiError) and error._to_peers is not None:  # of a Flow inside of this one
        return error._to_peers[0].removesuffix(told), dict(error._to_peers[1])
    kept = {name: value for name, value in details.items() if name != "host"}
    if isinstance(error, Unavailable) and host and not error.remote:  # as the driver, or gRPC's core, tells it
        return "its server cannot be reached, or did not answer", kept
    if host:
        message = message.replace(host, "its server").replace(host.partition("://")[2], "its server")
    return message, kept


def misgiven(needs: Sequence[str], error: InvalidArgument) -> Internal:
    """The error where a node does not take what others gave it: that is no mistake in what the Flow was called with."""
    given = ", ".join(map(repr, needs))
    made = Internal(f"it does not take what it was given of {given}: {error.message}", id=error.id)
    made.__cause__ = error
    return made


def is_for_others(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether this stops whoever runs the task, and is no failure of what it does: a function may raise the same by itself."""
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    if isinstance(error, GeneratorExit):  # Python closes a coroutine that is waited for no more
        return asyncio._get_running_loop() is None or asyncio.current_task() is not task
    # Ctrl-C comes to the main thread; where a loop hears it as a signal it is told as a cancellation.
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
