"""The spans of a test, as OpenTelemetry's SDK records them."""

from __future__ import annotations

import time
from typing import Any

import pytest

__all__ = ["Recorded"]

PATIENCE = 10  # seconds for a span to end: that of a server may end after its client has the reply


class Recorded:
    """What was traced; the provider is put in place for one test, where OpenTelemetry lets a program set it once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reason = "tracing needs it; it comes with: pip install opentelemetry-sdk"
        export = pytest.importorskip("opentelemetry.sdk.trace.export", reason=reason)
        memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter", reason=reason)
        sdk = pytest.importorskip("opentelemetry.sdk.trace", reason=reason)
        self.api: Any = pytest.importorskip("opentelemetry.trace", reason=reason)
        self._exporter = memory.InMemorySpanExporter()
        self.provider: Any = sdk.TracerProvider()
        self.provider.add_span_processor(export.SimpleSpanProcessor(self._exporter))
        monkeypatch.setattr(self.api, "_TRACER_PROVIDER", self.provider)

    def close(self) -> None:
        self.provider.shutdown()

    def all(self) -> list[Any]:
        """The spans that have ended so far."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str, kind: str, count: int = 1) -> list[Any]:
        """The spans of this name and kind (SERVER, CLIENT, INTERNAL), once there are so many."""
        end = time.monotonic() + PATIENCE
        while True:
            found = [span for span in self.all() if (span.name, span.kind.name) == (name, kind)]
            if len(found) >= count:
                return found
            assert time.monotonic() < end, [(span.name, span.kind.name) for span in self.all()]
            time.sleep(0.002)

    def one(self, name: str, kind: str) -> Any:
        """The only span of this name and kind."""
        (found,) = self.named(name, kind)
        return found

    @staticmethod
    def is_inside(inner: Any, outer: Any) -> bool:
        """Whether a span is the child of another."""
        return (
            inner.parent is not None
            and inner.parent.span_id == outer.context.span_id
            and inner.context.trace_id == outer.context.trace_id
        )
