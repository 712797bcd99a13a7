"""What a Flow's caller is told where a node failed: one error that names the node, where it ran, and why."""

from __future__ import annotations

from xooai.call import current
from xooai.errors import Code, XooaiError, error_from
from xooai.flow.targets import Target
from xooai.log import logger

__all__ = ["failed"]

_log = logger("xooai")


def failed(id: str, target: Target, error: Exception) -> XooaiError:
    """The error of a node, of the same type as its own, to be raised from it.

    What is none of ours comes of `join=` or `when=`, or of a driver: it goes to the log, and whoever called learns an id.
    """
    request = error.id if isinstance(error, XooaiError) and error.id else current().id
    where = f"node {id!r} ({target.path} {f'at {target.host}' if target.host else 'in process'})"
    code: Code = Code.INTERNAL
    if isinstance(error, XooaiError):
        code = Code.INTERNAL if error.code == Code.UNKNOWN else error.code
        message, details = error.message, dict(error.details)
    else:
        _log.error("call %s: %s failed", request, where, exc_info=error)
        message, details = "its join= or when= raised, or what calls it; the log tells more under this id", {}
    details |= {"node": id, "endpoint": target.path, "host": target.host}
    made = error_from(code, f"{where} failed: {message} (request {request})", details, request)
    made.remote = isinstance(error, XooaiError) and error.remote
    made._is_of_here = isinstance(error, XooaiError) and error._is_of_here
    return made
