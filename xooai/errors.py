"""What can go wrong in a call: one hierarchy, numbered with gRPC's status codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, ClassVar

__all__ = [
    "AlreadyExists",
    "Code",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FlowError",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "PluginError",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "XooaiError",
    "error_from",
    "too_large",
]


class Code(IntEnum):
    """How a call ended. The numbers are gRPC's (https://grpc.io/docs/guides/status-codes/)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class XooaiError(Exception):
    """The base of every error that xooai raises.

    `message` is one line; `details` holds JSON values that travel with it; `remote` says that a peer raised it; `id` is
    the peer's request id, where it sent one, under which its log tells more; `never_ran` says that the call surely has not
    begun over there, so that it may be made anew, whatever it does.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    never_ran: bool = False
    _has_answer: bool = False
    """Whether a part of the answer had come."""
    _server: str = ""
    """The server whose trouble it is, as its client knows it."""
    _beside: Mapping[str, str] = {}
    """The metadata that the server sent with it."""
    _is_of_here: bool = False
    """Whether it tells of what this process read for itself, such as a path: nothing for a peer."""
    _to_peers: tuple[str, Mapping[str, Any]] | None = None
    """Message and details for a peer, where these here name servers that are none of its business."""
    trace: Any = None
    """What a run of a Flow did that ended with this error: a `xooai.flow.Trace`, which prints as a waterfall."""

    def __init__(
        self,
        message: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        id: str | None = None,
        remote: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.id = id
        self.remote = remote


class InvalidArgument(XooaiError, ValueError):
    """What was given is malformed (no `errors`) or does not validate (`errors` as pydantic's: type, loc, msg)."""

    code = Code.INVALID_ARGUMENT

    def __init__(self, message: str = "", *, errors: Sequence[Mapping[str, Any]] = (), **more: Any) -> None:
        super().__init__(message, **more)
        if errors:
            self.details["errors"] = [dict(error) for error in errors]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """One entry a mistake: `type`, `loc` (a tuple), `msg`."""
        given = self.details.get("errors", ())
        return [{**error, "loc": tuple(error.get("loc", ()))} for error in given]


class DeadlineExceeded(XooaiError, TimeoutError):
    """The time allowed for the call has passed."""

    code = Code.DEADLINE_EXCEEDED


class NotFound(XooaiError, LookupError):
    """No such executor, endpoint, file or object."""

    code = Code.NOT_FOUND


class AlreadyExists(XooaiError):
    """What was to be made is there already."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(XooaiError, PermissionError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED


class ResourceExhausted(XooaiError):
    """A limit is reached: `reason` is "size", "load" or "storage"; `retry_after` is in seconds, where waiting helps."""

    code = Code.RESOURCE_EXHAUSTED

    def __init__(
        self, message: str = "", *, reason: str = "load", retry_after: float | None = None, **more: Any
    ) -> None:
        super().__init__(message, **more)
        self.details.setdefault("reason", reason)
        if retry_after is not None:
            self.details["retry_after"] = retry_after

    @property
    def reason(self) -> str:
        return str(self.details["reason"])

    @property
    def retry_after(self) -> float | None:
        given = self.details.get("retry_after")
        return float(given) if isinstance(given, int | float) else None


class FailedPrecondition(XooaiError):
    """The call is right, but not in the present state: what has to be done first is in the message."""

    code = Code.FAILED_PRECONDITION


class Unimplemented(XooaiError, NotImplementedError):
    """The peer does not speak this codec or call shape."""

    code = Code.UNIMPLEMENTED


class Internal(XooaiError):
    """The handler failed. A peer learns the request id only; the text is in the server's log."""

    code = Code.INTERNAL


class Unavailable(XooaiError, ConnectionError):
    """The peer cannot be reached, or went away before it answered."""

    code = Code.UNAVAILABLE


class DataLoss(XooaiError, ValueError):
    """Content does not match its signature."""

    code = Code.DATA_LOSS


class Unauthenticated(XooaiError, PermissionError):
    """The caller did not show who it is."""

    code = Code.UNAUTHENTICATED


class FlowError(XooaiError):
    """A mistake in composing a Flow."""

    code = Code.INVALID_ARGUMENT


class PluginError(XooaiError):
    """A driver or a store is not installed, or does not work."""

    code = Code.UNIMPLEMENTED


_BY_CODE: dict[int, type[XooaiError]] = {
    int(kind.code): kind
    for kind in (
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    )
}
_BY_CODE[Code.CANCELLED] = Unavailable


def error_from(code: int, message: str, details: Mapping[str, Any], id: str | None = None) -> XooaiError:
    """The typed error that a peer's outcome stands for; codes without a class of ours become `Internal`."""
    kind = _BY_CODE.get(code, Internal)
    return kind(message, details=details, id=id, remote=True)


def too_large(size: int | None, limit: int, what: str) -> ResourceExhausted:
    """The one error about size; `what` names the thing, such as "the request", `size` is None where it is not known."""
    given = "more" if size is None else f"{size:,} bytes"
    return ResourceExhausted(f"{what} has {given}, the limit is {limit:,} bytes", reason="size")
