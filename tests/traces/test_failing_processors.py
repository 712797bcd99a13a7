"""What an operator attaches to OpenTelemetry may fail: no call ends by it, and the log is told once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from recorded import Recorded
from traced_executors import Near

from xooai import Flow, NotFound

pytest.importorskip("opentelemetry.sdk.trace", reason="it comes with: pip install opentelemetry-sdk")

from opentelemetry.sdk import trace as processors

from xooai.layers import spans

Client = Callable[[Any], Any]


class Failing(processors.SpanProcessor):
    """Raises where its name says."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.times = 0

    def on_start(self, *_: Any, **__: Any) -> None:
        self._fail("on_start")

    def on_end(self, *_: Any) -> None:
        self._fail("on_end")

    def _fail(self, where: str) -> None:
        if where == self.where:
            self.times += 1
            raise RuntimeError(f"broken {where}")


@pytest.fixture(params=["on_start", "on_end"])
def failing(request: pytest.FixtureRequest, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Failing:
    monkeypatch.setattr(spans, "_TOLD", set())
    found = Failing(request.param)
    recorded.provider.add_span_processor(found)
    return found


def test_calls_go_on_where_a_processor_raises(
    client_of: Client, failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(Near())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert client.post(on="in_thread", n=1) is not None
        assert list(client.stream(on="count", n=3)) == [0, 1, 2]
        with pytest.raises(NotFound):
            client.post(on="lost")

    assert failing.times >= 6  # of both sides of each call
    (record,) = [one for one in caplog.records if one.name.startswith("xooai")]
    assert "attached to OpenTelemetry fails" in record.getMessage()
    assert record.exc_info is not None


def test_flows_go_on_where_a_processor_raises(failing: Failing) -> None:
    near = Near()
    flow = Flow(name="traced")
    flow.add(use=near, on="in_thread", id="first")
    with near, flow:
        assert flow.post(n=1) is not None

    assert failing.times >= 2
