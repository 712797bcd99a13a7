"""A call: what handlers, clients and layers are given, and what they are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import reduce
from math import isnan
from numbers import Real
from time import monotonic
from typing import TYPE_CHECKING, Any

from xooai.codec import CODECS, Codec, codec_of
from xooai.done import DONE
from xooai.driver import EMPTY, MESSAGE_LIMIT, Channel, Head
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition, InvalidArgument, too_large
from xooai.lazy import lazy
from xooai.metadata import BATCHES_HEADER, HOPS_HEADER, ID_HEADER
from xooai.origin import NO_MARKS, Marks
from xooai.timed import handled

if TYPE_CHECKING:
    from xooai import naming
    from xooai.tally import Calls
    from xooai.timing import Timing
else:
    naming = lazy("xooai.naming")

__all__ = [
    "HOPS",
    "Call",
    "Layer",
    "Service",
    "StreamCall",
    "asked_codec",
    "batches",
    "carried",
    "checked_timeout",
    "composed",
    "current",
    "entered",
    "hops",
    "never",
    "remaining",
]

HOPS = 16  # servers that a call comes through, one calling the next: more than anybody composes, and an end to a circle of them


class Call:
    """One call, as its handler sees it.

    `head` is what it opened with; `deadline` in monotonic seconds, None without one; `marks` which refs came from a peer, for
    a call within the process, else None: all did. `inline` says that a `def` handler runs in this very thread; `outer` is the
    call that was handled where one within the process was made.
    """

    # On the class, so that making a call sets only what it has.
    deadline: float | None = None
    timing: Timing | None = None
    """How long its stages take, where somebody wants to know."""
    inline: bool = False
    is_passed_on: bool = False
    """Whether a process behind this one has it, and nobody here knows how far it has come."""
    marks: Marks | None = None
    outer: Any = None
    hops: int = 0
    """How many servers the call came through, this one among them, once somebody asked."""
    batches: str | None = None
    """Which batches wait for it, as `BATCHES_HEADER` has them, once somebody asked."""
    tally: Calls
    """Where its site counts it."""
    taken: int = 0
    """Bytes of the caller's frames that were read, and of those `given` that were sent to it before the last."""
    given: int = 0
    reply: bytes | None = None
    reply_codec: str = ""
    reply_marks: Marks = NO_MARKS
    span: Any = None
    """What is recorded of it, where somebody traces."""
    _id: str | None = None
    _trace: dict[str, str] | None = None
    _reply_metadata: dict[str, str] | None = None

    def __init__(self, endpoint: Endpoint, channel: Channel) -> None:
        self.endpoint = endpoint
        self.channel = channel
        head: Head = channel.head
        self.head = head
        # Those that every call is asked for: found on the class, each would cost four times as much as to be set.
        self.timing = self.marks = self._reply_metadata = None
        if head.timeout is not None:
            self.deadline = monotonic() + head.timeout

    @property
    def id(self) -> str:
        """A name for this call in logs; a peer that gets an error gets it too.

        It is the `x-request-id` that the caller has sent, where that is well-formed; within another call that one's.
        """
        if self._id is None:
            given = naming.given_id(self.head.metadata)
            self._id = given or (self.outer.id if isinstance(self.outer, Call) else naming.new_id())
        return self._id

    @property
    def trace_id(self) -> str | None:
        """The trace that this call is a part of, as 32 hexadecimal digits; None where it is in none."""
        if self.span is not None and (told := str(self.span.trace_id)):
            return told
        found = naming.trace_id_of(self.head.metadata)
        return self.outer.trace_id if found is None and isinstance(self.outer, Call) else found

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the caller sent beside the arguments: names in lower case."""
        return self.head.metadata

    @property
    def reply_metadata(self) -> dict[str, str]:
        """What goes back beside the reply; written to by the handler."""
        if self._reply_metadata is None:
            self._reply_metadata = {}
        return self._reply_metadata

    @property
    def has_reply_metadata(self) -> bool:
        return bool(self._reply_metadata)

    @property
    def peer(self) -> str:
        """Who called, as the driver knows it: an address, or "" in process."""
        return self.head.peer

    @property
    def identity(self) -> str | None:
        """Who called: the tenant of its key, or the name in its certificate; None where neither was asked for.

        In a call within the process, such as that of a Flow's node, who called from outside.
        """
        call: Any = self
        while call.marks is not None and isinstance(call.outer, Call):  # it never left the process
            call = call.outer
        return call.head.identity or None

    @property
    def remaining(self) -> float | None:
        """Seconds left, never below 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - monotonic())

    def receive(self) -> Awaitable[bytes | None]:
        """Return the caller's next frame; None when it sent all."""
        return self.channel.receive()

    def send(self, frame: bytes, codec: str) -> Awaitable[None]:
        """Give a frame of the reply. That of a unary call waits for the call's end, so that both are one write.

        Raises ResourceExhausted above the limit of a message, which no caller would read.
        """
        if len(frame) > MESSAGE_LIMIT:
            raise too_large(len(frame), MESSAGE_LIMIT, "the reply")
        self.reply = frame
        self.reply_codec = codec
        return DONE


class StreamCall(Call):
    """A call that streams: each frame goes as it is given."""

    def __init__(self, endpoint: Endpoint, channel: Channel) -> None:
        super().__init__(endpoint, channel)
        self._gives_stream = endpoint.gives_stream
        self.offer: Callable[[bytes], bool] = getattr(channel, "offer", never)
        """Take a frame of the reply if that needs no waiting, see `xooai.driver.Offering`; else it is to be sent."""

    def send(self, frame: bytes, codec: str) -> Awaitable[None]:
        """Send a frame of the reply; wait while the caller's window is full. The last one of a single reply waits for the end.

        Raises ResourceExhausted as a unary call does.
        """
        if len(frame) > MESSAGE_LIMIT:
            raise too_large(len(frame), MESSAGE_LIMIT, "the reply")
        self.reply_codec = codec
        if not self._gives_stream:
            self.reply = frame
            return DONE
        self.given += len(frame)
        return self.channel.send(frame)


def never(frame: bytes) -> bool:
    """What a channel offers that has no `offer`."""
    return False


Service = Callable[[Call], Awaitable[None]]
"""Whatever answers a call: a handler, a remote endpoint."""

Layer = Callable[[Service], Service]
"""What stands around a service: the same on servers and on clients."""


entered: ContextVar[Call | None] = handled  # type: ignore[assignment]  # nothing else is put there


def current() -> Call:
    """The call that is being handled. Raises FailedPrecondition outside a handler."""
    call = entered.get()
    if call is None:
        raise FailedPrecondition("current() is for use inside a handler; no call is being handled here")
    return call


def remaining(timeout: float | None) -> float | None:
    """Seconds that a nested call may take: `timeout`, or what is left of the call being handled, whichever is less."""
    call = entered.get()
    left = call.remaining if call is not None else None
    if left is None or timeout is None:
        return timeout if left is None else left
    return min(timeout, left)


def hops() -> int:
    """How many servers came before what a call sends on now, this one among them: 0 where no peer has called.

    Raises FailedPrecondition for too many: some server in a circle has to end it, whatever is called in between.
    """
    call = _from_outside()
    if call is None:
        return 0
    found = call.hops
    if not found:
        given = call.head.metadata.get(HOPS_HEADER, "0")
        found = call.hops = int(given) + 1 if given.isdecimal() and len(given) <= len(str(HOPS)) else HOPS + 1
    if found > HOPS:
        raise FailedPrecondition(
            f"this call came through {HOPS} servers already, each calling the next; does one of them lead back to this one?"
        )
    return found


def batches() -> str:
    """The batches, of any server, that wait for what runs here, as `BATCHES_HEADER` has them."""
    call = _from_outside()
    if call is None:
        return ""
    if call.batches is None:
        call.batches = naming.given_batches(call.head.metadata)
    return call.batches


def _from_outside() -> Call | None:
    """The call that was handled where the first of those within the process was made; None where nothing was."""
    call: Any = entered.get()
    while isinstance(call, Call) and call.marks is not None:  # it never left the process
        call = call.outer
    return call if isinstance(call, Call) else None


def carried() -> Mapping[str, str]:
    """What goes on from the call being handled to one that is made on the way: its trace, which batches wait for it, and its id
    if that is known.

    An id that nobody has asked for yet is not made for this: each request would have another head, which costs both sides more
    than all else that is new in a call.
    """
    call = entered.get()
    found: Mapping[str, str] = EMPTY
    is_known = False
    at: Any = call
    while isinstance(at, Call):
        if at._trace is None:
            # Where somebody traces, what goes on comes from the context in which the call is made.
            given = EMPTY if at.span is not None else at.head.metadata
            at._trace = naming.trace_headers(given) if given else {}
        found = found or at._trace
        is_known = is_known or at.head.is_named or at._id is not None
        at = at.outer
    if call is not None and (waiting := batches()):
        found = {**found, BATCHES_HEADER: waiting}
    return {**found, ID_HEADER: call.id} if is_known and call is not None else found


def checked_timeout(timeout: Any) -> float:
    """The seconds that a caller allows; below 0 where what is left of a longer time has passed. Raises InvalidArgument."""
    if not isinstance(timeout, Real) or isinstance(timeout, bool) or isnan(timeout):
        raise InvalidArgument(f"timeout={_short(timeout)} is no number of seconds; None means no limit")
    return float(timeout)


def asked_codec(codec: Any) -> Codec:
    """The codec that a caller names. Raises InvalidArgument, and Unimplemented where it is not known."""
    if not isinstance(codec, str):
        raise InvalidArgument(f"codec={_short(codec)} is no text; it takes one of: {', '.join(CODECS)}")
    return codec_of(codec)


def _short(value: object) -> str:
    return repr(value)[:80]


def composed(layers: Sequence[Layer], service: Service) -> Service:
    """The service with its layers around it, the first outermost."""
    return reduce(lambda inner, layer: layer(inner), reversed(layers), service)
