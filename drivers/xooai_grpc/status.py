"""What a call's status means: the typed error for one that is not OK, whoever set it."""

from __future__ import annotations

import re
from typing import Any

import grpc

from xooai.driver import Head, Outcome
from xooai.errors import Code, DeadlineExceeded, Unavailable, XooaiError, error_from, too_large
from xooai.place import whom_to_trust
from xooai_grpc.metadata import Received, error_of

__all__ = ["code_of", "failure", "status_code", "was_refused"]

_STATUS_CODES: dict[int, grpc.StatusCode] = {status.value[0]: status for status in grpc.StatusCode}
# What gRPC's core says of a message beyond grpc.max_receive_message_length, on the side that refused it.
_TOO_LARGE = re.compile(r"(CLIENT: )?Received message larger than max \((\d+) vs\. (\d+)\)")
_NO_CONNECTION = ("failed to connect", "DNS resolution failed", "errors resolving", "Ssl handshake failed")
_LAST = re.compile(r".*(?:last error: (?:[A-Z_]+: )?)")
_REFUSED = "RST_STREAM with error code 7"  # REFUSED_STREAM: no part of the call has run (RFC 9113 8.7)
_UNHEARD = (
    "CANCELLED"  # how the core ends what comes to a server that has begun to stop, and what it then gives to nobody
)
_PUSHBACK = "grpc-retry-pushback-ms"
_SHOWN = 500  # characters of the core's text, which repeats itself for every address


def status_code(code: int) -> grpc.StatusCode:
    """gRPC's own name of a code; numbers that it does not have are UNKNOWN."""
    return _STATUS_CODES.get(code, grpc.StatusCode.UNKNOWN)


def code_of(status: grpc.StatusCode) -> int:
    return int(status.value[0])


def was_refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server did not begin with the call: it had as many on this connection as it takes.

    gRPC holds calls back by itself, but its server counts those that have just ended for a moment longer than its client.
    """
    return error.code() is grpc.StatusCode.UNAVAILABLE and _REFUSED in (error.details() or "")


def failure(error: grpc.aio.AioRpcError, head: Head, peer: str) -> tuple[Outcome, XooaiError]:
    """How a call ended that failed, and the error to raise: a server's own, or what kept it from answering."""
    code, text = code_of(error.code()), error.details() or ""
    trailers = tuple(error.trailing_metadata() or ())
    outcome = error_of(code, text, trailers)
    if outcome is not None:
        return outcome, error_from(code, text, outcome.details, outcome.id)
    pushback = dict(trailers).get(_PUSHBACK)
    if pushback is not None and code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED):
        raised = error_from(code, text[:_SHOWN], _asked(pushback))
    else:
        raised = _without_answer(code, text, head, peer)
    return Outcome(raised.code, raised.message, raised.details, metadata=Received(trailers)), raised


def _without_answer(code: int, text: str, head: Head, peer: str) -> XooaiError:
    """The error for a status of the transport's, of a proxy's, or of a server that is not ours."""
    if code == Code.DEADLINE_EXCEEDED and head.timeout is not None:
        return DeadlineExceeded(f"no answer from {peer} within {head.timeout:.3g} s")
    if code == Code.UNAVAILABLE and any(mark in text for mark in _NO_CONNECTION):
        away = Unavailable(f"cannot connect to {peer}: {whom_to_trust(_LAST.sub('', text, count=1)[:_SHOWN])}")
        away.never_ran = True
        return away
    if code in (Code.UNAVAILABLE, Code.CANCELLED):
        is_unheard = code == Code.CANCELLED and text == _UNHEARD and not head.shape
        if is_unheard or _REFUSED in text:
            refused = Unavailable(f"{peer} takes no further calls now; this one was not begun")
            refused.never_ran = True
            return refused
        return Unavailable(f"{peer} ended the call before it was answered; it may have run ({text[:_SHOWN]})")
    if code == Code.RESOURCE_EXHAUSTED:
        return _exhausted(text)
    return error_from(code, text or f"{peer} ended the call with status {code}", {})


def _asked(pushback: str | bytes) -> dict[str, Any]:
    """What a server says of another attempt: the milliseconds until then; what is no number of them forbids it (gRFC A6)."""
    text = str(pushback)
    return {"retry_after": int(text) / 1000} if text.isdecimal() and len(text) < 10 else {"retry": False}


def _exhausted(text: str) -> XooaiError:
    found = _TOO_LARGE.search(text)
    if found is not None:
        return too_large(int(found[2]), int(found[3]), "the reply" if found[1] else "the request")
    reason = "size" if "larger than" in text or "exceeds" in text else "load"
    return error_from(Code.RESOURCE_EXHAUSTED, text[:_SHOWN], {"reason": reason})
