"""OpenTelemetry: a span for each call that is made or answered, joined to its caller's trace by W3C's headers, and for each node.

Names and attributes are those of the semantic conventions for RPC
(https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/). This module is loaded only where a provider of traces may be set.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import Token
from functools import lru_cache, partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from xooai.driver import Channel, Head, Outcome, Shape
from xooai.errors import Code, XooaiError
from xooai.layers import spans
from xooai.log import shown
from xooai.memory import MemoryChannel
from xooai.metadata import is_sendable
from xooai.naming import LONGEST, trace_id_of, well_formed
from xooai.timing import Timing
from xooai.watching import Watch

__all__ = ["CallSpan", "StageSpan", "called", "event", "node", "opened", "tracer"]

T = TypeVar("T")
Attributes = dict[str, str | int | float | bool]

_OTHERS = 512  # characters of a header that says where a call belongs, and is not of W3C
_OTHER = "_OTHER"  # as the conventions call what is no endpoint: a stranger must not make up names of spans
_OK = Outcome()
_SERVERS = 256  # servers whose addresses are remembered: more than one program calls
# Of a server's spans these are failures of the server; the others tell its caller what he did wrong (conventions for gRPC).
_FAILURES = frozenset(
    {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS}
)

_known: tuple[object, Tracer | None] = (None, None)


def tracer() -> Tracer | None:
    """What makes spans; None where no provider of traces is set."""
    global _known  # noqa: PLW0603 - asked with each call
    provider = trace.get_tracer_provider()
    if provider is _known[0]:
        return _known[1]
    is_none = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    _known = provider, None if is_none else provider.get_tracer("xooai")
    return _known[1]


class CallSpan:
    """The span of a call on the side that answers it. Implements `xooai.watching.Watcher`."""

    def __init__(self, tracer: Tracer, channel: Channel, is_known: bool) -> None:
        head = channel.head
        is_here = isinstance(channel, MemoryChannel)
        parent = None if is_here and trace.get_current_span().get_span_context().is_valid else _parent(head.metadata)
        name = head.path.removeprefix("/") if is_known else _OTHER
        kind = SpanKind.INTERNAL if is_here else SpanKind.SERVER
        attributes = _attributes(name)
        if not is_known:
            attributes["rpc.method_original"] = shown(head.path.removeprefix("/"), 200)
        if head.driver:
            attributes["xooai.driver"] = head.driver
        if head.peer and not is_here:
            attributes.update(_peer(head.peer))
        self._span = spans.start(tracer, name, parent, kind, attributes)
        self._token: Token[Context] | None = contexts.attach(trace.set_span_in_context(self._span, parent))

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits; "" where no span could be begun."""
        context = self._span.get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    def began(self, watch: Watch) -> None:
        call = watch.call
        assert call is not None
        call.span = self
        if self._span.is_recording() and call.timing is None:
            call.timing = Timing()

    def gave(self, watch: Watch) -> None:
        self._span.add_event("xooai.first_item")

    def ended(self, watch: Watch) -> None:
        if self._span.is_recording():
            self._tell(watch)
        if self._token is not None:
            contexts.detach(self._token)
        spans.end(self._span)

    def _tell(self, watch: Watch) -> None:
        span, call, code = self._span, watch.call, watch.code
        attributes: Attributes = {"xooai.request.size": watch.received, "xooai.response.size": watch.sent}
        if call is not None:
            attributes["xooai.request.id"] = call.id
            if call.identity is not None:
                attributes["xooai.tenant"] = call.identity
            if call.head.shape:
                attributes["xooai.request.items"] = watch.items_received
                attributes["xooai.response.items"] = watch.items_sent
            if call.timing is not None:
                call.timing.enter(None)
                attributes.update((f"xooai.stage.{name}", took) for name, took in call.timing.seconds.items() if took)
        span.set_attributes(attributes)
        message = watch.outcome.message if watch.outcome is not None else "the call was cancelled"
        _end_with(span, code, message, code in _FAILURES)


async def called(
    tracer: Tracer,
    server: str,
    head: Head,
    frame: bytes | None,
    exchange: Callable[[Head, bytes | None], Awaitable[tuple[bytes, Outcome]]],
) -> tuple[bytes, Outcome]:
    """Make a call at a server: a span for each attempt, which the server's spans are inside of."""
    span = _client_span(tracer, server, head)
    try:
        reply, outcome = await exchange(_joined(head, span), frame)
        span.set_attributes({"xooai.request.size": len(frame or b""), "xooai.response.size": len(reply)})
        _end_with(span, Code.OK, "", False)
    except BaseException as error:
        _failed(span, error)
        raise
    finally:
        spans.end(span)
    return reply, outcome


async def opened(
    tracer: Tracer,
    server: str,
    head: Head,
    opening: bytes | None,
    open_at: Callable[[Head, bytes | None], Awaitable[Channel]],
) -> Channel:
    """Open a call that streams at a server; its span lasts until it is over."""
    span = _client_span(tracer, server, head)
    try:
        return _Traced(await open_at(_joined(head, span), opening), span)
    except BaseException as error:
        _failed(span, error)
        spans.end(span)
        raise


class _Traced:
    """The caller's end of a call that streams: one span, however many items. Implements `xooai.driver.Channel`."""

    def __init__(self, channel: Channel, span: Span) -> None:
        self.head = channel.head
        self._channel, self._span = channel, span
        self._is_single = not channel.head.shape & Shape.SERVER
        self._received = self._sent = 0

    @property
    def outcome(self) -> Outcome | None:
        return self._channel.outcome

    async def receive(self) -> bytes | None:
        try:
            frame = await self._channel.receive()
        except BaseException as error:
            self._end(error)
            raise
        if frame is not None:
            self._received += 1
            if self._received == 1:
                self._span.add_event("xooai.first_item")
        if frame is None or self._is_single:
            self._end(None)
        return frame

    async def send(self, frame: bytes) -> None:
        await self._channel.send(frame)
        self._sent += 1

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        await self._channel.end(frame, outcome)

    def abort(self) -> None:
        self._channel.abort()
        if self._span.is_recording():
            _end_with(self._span, Code.CANCELLED, "the call was left by its caller", True)
            spans.end(self._span)

    def _end(self, error: BaseException | None) -> None:
        if not self._span.is_recording():
            return
        self._span.set_attributes({"xooai.request.items": self._sent, "xooai.response.items": self._received})
        if error is None:
            _end_with(self._span, Code.OK, "", False)
        else:
            _failed(self._span, error)
        spans.end(self._span)


async def node(tracer: Tracer, flow: str, id: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a node of a Flow: its calls, one for each attempt and each item, are inside of its span."""
    span = _node_span(tracer, flow, id)
    token = contexts.attach(trace.set_span_in_context(span))
    try:
        await run()
    except BaseException as error:
        _failed(span, error)
        raise
    finally:
        contexts.detach(token)
        spans.end(span)


class StageSpan:
    """The span of a node that a stream goes through: from when somebody takes the first item until no more is taken."""

    _span: Span | None = None

    def __init__(self, tracer: Tracer, flow: str, id: str) -> None:
        self._begin = partial(_node_span, tracer, flow, id, contexts.get_current())

    def began(self) -> None:
        self._span = self._begin()

    def ended(self, items: int, error: BaseException | None) -> None:
        """It has given so many items."""
        span = self._span
        if span is not None:
            span.set_attribute("xooai.response.items", items)
            if error is not None:
                _failed(span, error)
            spans.end(span)

    def around(self, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """A call whose spans are inside of this one."""

        async def within(*given: Any) -> T:
            token = self._attach()
            try:
                return await call(*given)
            finally:
                contexts.detach(token)

        return within

    def opening(self, open_it: Callable[[], AbstractAsyncContextManager[T]]) -> Callable[[], _Opening[T]]:
        """As `around`, of a call that streams."""
        return lambda: _Opening(self._attach, open_it())

    def _attach(self) -> Token[Context]:
        return contexts.attach(trace.set_span_in_context(self._span or trace.INVALID_SPAN))


class _Opening(AbstractAsyncContextManager[T]):
    """An open call, which is opened within a span; whoever takes its items is outside."""

    def __init__(self, attach: Callable[[], Token[Context]], opened: AbstractAsyncContextManager[T]) -> None:
        self._attach, self._opened = attach, opened

    async def __aenter__(self) -> T:
        token = self._attach()
        try:
            return await self._opened.__aenter__()
        finally:
            contexts.detach(token)

    async def __aexit__(self, *raised: Any) -> bool | None:
        return await self._opened.__aexit__(*raised)


def _node_span(tracer: Tracer, flow: str, id: str, parent: Context | None = None) -> Span:
    attributes: Attributes = {"xooai.flow": flow, "xooai.flow.node": id}
    return spans.start(tracer, f"{flow}.{id}", parent, SpanKind.INTERNAL, attributes)


def event(name: str, attributes: Mapping[str, str | int | float | bool]) -> None:
    """Note something in the span that is current."""
    trace.get_current_span().add_event(name, attributes)


def _parent(metadata: Mapping[str, str]) -> Context:
    """Where the caller says that its call belongs. What is malformed is left out, and written nowhere."""
    context = Context()
    if not metadata:
        return context
    carrier = {}
    for name in _fields(propagate.get_global_textmap()):
        value = metadata.get(name.lower())
        if (
            value is not None
            and len(value) <= LONGEST.get(name.lower(), _OTHERS)
            and value.isascii()
            and value.isprintable()
        ):
            carrier[name] = well_formed(name.lower(), value)
    if "traceparent" in carrier and trace_id_of(carrier) is None:
        del carrier["traceparent"]
        carrier.pop("tracestate", None)
    return propagate.extract(carrier, context) if carrier else context


@lru_cache(maxsize=4)  # a program has one
def _fields(propagator: TextMapPropagator) -> frozenset[str]:
    """The headers that a propagator reads, which it looks up anew each time."""
    return frozenset(propagator.fields)


def _joined(head: Head, span: Span) -> Head:
    """The head of a call that is made within a span."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    fitting = {
        name.lower(): value
        for name, value in carrier.items()
        if len(value) <= LONGEST.get(name.lower(), _OTHERS) and is_sendable(name.lower(), value)
    }
    return replace(head, metadata={**head.metadata, **fitting})


def _client_span(tracer: Tracer, server: str, head: Head) -> Span:
    name = head.path.removeprefix("/")
    return spans.start(tracer, name, None, SpanKind.CLIENT, {**_attributes(name), **_address(server)})


def _attributes(method: str) -> Attributes:
    return {"rpc.system.name": "xooai", "rpc.method": method}


@lru_cache(maxsize=_SERVERS)
def _address(server: str) -> Mapping[str, str | int]:
    parts = urlsplit(server)
    found: dict[str, str | int] = {"server.address": parts.hostname or server}
    return found if parts.port is None else {**found, "server.port": parts.port}


def _peer(peer: str) -> Attributes:
    host, _, port = peer.rpartition(":")
    if not port.isdecimal():
        return {"client.address": peer}
    return {"client.address": host.strip("[]"), "client.port": int(port)}


def _failed(span: Span, error: BaseException) -> None:
    """A span ends by an error, of which other than ours only the class is told: its text may hold what is secret."""
    if isinstance(error, XooaiError):
        _end_with(span, error.code, error.message, True)
    elif isinstance(error, Exception):
        _end_with(span, Code.UNKNOWN, type(error).__name__, True)
    else:
        _end_with(span, Code.CANCELLED, "the call was cancelled", True)


def _end_with(span: Span, code: int, message: str, is_failure: bool) -> None:
    name = Code(code).name if code in Code._value2member_map_ else str(code)
    span.set_attribute("rpc.response.status_code", name)
    if is_failure:
        span.set_attribute("error.type", name)
        span.set_status(Status(StatusCode.ERROR, shown(message, 500)))
