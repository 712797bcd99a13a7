"""A server that sends its spans to a collector: served until its standard input ends."""

from __future__ import annotations

import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from traced_executors import Near

if __name__ == "__main__":
    scheme, collector = sys.argv[1:]
    provider = TracerProvider(resource=Resource({"service.name": "near"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(collector)))
    trace.set_tracer_provider(provider)
    with Near(trace.get_tracer("mine")) as near:
        print(near.start(f"{scheme}://127.0.0.1:0")[0], flush=True)
        sys.stdin.read()
