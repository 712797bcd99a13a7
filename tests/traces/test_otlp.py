"""Spans of two processes reach a collector by OpenTelemetry's own protocol, as one trace."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from recorded import Recorded

from xooai import Flow

HERE = Path(__file__).parent
REASON = "it comes with: pip install opentelemetry-exporter-otlp-proto-http"
PATIENCE = 30  # seconds


class Collector:
    """Takes spans by OTLP over HTTP, and reads them by the protocol's own messages."""

    def __init__(self) -> None:
        messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason=REASON)
        found: list[tuple[str, Any]] = []
        self.found = found

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for resource in messages.ExportTraceServiceRequest.FromString(body).resource_spans:
                    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        found.extend((attributes["service.name"].partition(":")[0], span) for span in scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def one(self, service: str, name: str, kind: int) -> Any:
        """The only span of this name that a service has sent, once it is there."""
        end = time.monotonic() + PATIENCE
        while True:
            spans = [span for of, span in self.found if (of, span.name, span.kind) == (service, name, kind)]
            if spans:
                assert len(spans) == 1
                return spans[0]
            assert time.monotonic() < end, [(of, span.name, span.kind) for of, span in self.found]
            time.sleep(0.005)


INTERNAL, SERVER, CLIENT = 1, 2, 3  # of the protocol's SpanKind


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_flow_over_two_processes_is_one_trace_at_a_collector(
    collector: Collector, recorded: Recorded, scheme: str
) -> None:
    pytest.importorskip({"http": "uvicorn", "grpc": "grpc"}[scheme], reason=f"pip install -e '.[{scheme}]'")
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter", reason=REASON)
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    recorded.provider.add_span_processor(export.SimpleSpanProcessor(exporter.OTLPSpanExporter(collector.url)))
    command = [sys.executable, str(HERE / "traced_program.py"), scheme, collector.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with Flow(name="far").add(use=f"{url}/near/in_thread", id="ask") as flow:
            told = flow.post(n=1)
        process.communicate()

    ours = "unknown_service"
    spans = [
        collector.one(ours, "far/call", INTERNAL),
        collector.one(ours, "far.ask", INTERNAL),
        collector.one(ours, "near/in_thread", CLIENT),
        collector.one("near", "near/in_thread", SERVER),
        collector.one("near", "own", INTERNAL),
    ]
    assert {span.trace_id.hex() for span in spans} == {told["trace"]}
    assert [span.parent_span_id for span in spans[1:]] == [span.span_id for span in spans[:-1]]
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
