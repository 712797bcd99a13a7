"""Spans that begin and end whatever is attached to OpenTelemetry: a processor or sampler that raises ends no call."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, Tracer

from xooai.log import logger

__all__ = ["end", "start"]

_log = logger("xooai")
_TOLD: set[str] = set()  # what the log was told of: it would be with each call


def start(
    tracer: Tracer,
    name: str,
    parent: Context | None,
    kind: SpanKind,
    attributes: Mapping[str, str | int | float | bool],
) -> Span:
    """A span that has begun. Where that fails, one that records nothing, and what is inside of it belongs to `parent`."""
    try:
        return tracer.start_span(name, parent, kind, attributes)
    except Exception as error:  # noqa: BLE001 - of whatever the operator attached
        _tell("begins", error)
        return NonRecordingSpan(trace.get_current_span(parent).get_span_context())


def end(span: Span) -> None:
    """It ends now."""
    try:
        span.end()
    except Exception as error:  # noqa: BLE001 - as above
        _tell("ends", error)


def _tell(when: str, error: Exception) -> None:
    if when not in _TOLD:
        _TOLD.add(when)
        _log.error(
            "what is attached to OpenTelemetry fails when a span %s; calls go on, and this is not told again",
            when,
            exc_info=error,
        )
