"""Spans of calls: one on each side, joined over every driver, named as OpenTelemetry's conventions say, without secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import Recorded
from traced_executors import Near, Relay

from xooai import Flow, Internal, NotFound
from xooai.naming import trace_id_of, well_formed

Client = Callable[[Any], Any]
PARENT = f"00-{'1' * 32}-{'2' * 16}-01"
SECRETS = ("hunter2", "hunter3", "hunter4")


def test_a_chain_of_servers_is_one_trace(client_of: Client, recorded: Recorded) -> None:
    relay = client_of(Relay(client_of(Near(recorded.provider.get_tracer("mine")))))
    found = relay.post(on="ask", what="in_thread")

    chain = [
        recorded.one("relay/ask", "CLIENT"),
        recorded.one("relay/ask", "SERVER"),
        recorded.one("near/in_thread", "CLIENT"),
        recorded.one("near/in_thread", "SERVER"),
        recorded.one("own", "INTERNAL"),  # of the handler, which ran in a thread
    ]
    assert all(recorded.is_inside(inner, outer) for outer, inner in pairwise(chain))
    assert chain[0].parent is None
    assert found["trace"] == f"{chain[0].context.trace_id:032x}"


def test_both_sides_say_what_was_called_and_where(client_of: Client, recorded: Recorded) -> None:
    client_of(Near()).post(on="in_thread", n=1)
    theirs = dict(recorded.one("near/in_thread", "SERVER").attributes)
    ours = dict(recorded.one("near/in_thread", "CLIENT").attributes)
    for attributes in (theirs, ours):
        assert attributes["rpc.system.name"] == "xooai"
        assert attributes["rpc.method"] == "near/in_thread"
        assert attributes["rpc.response.status_code"] == "OK"
        assert attributes["xooai.request.size"] > 0
        assert attributes["xooai.response.size"] > 0
    assert ours["server.address"] in ("127.0.0.1", "near")
    assert theirs["client.address"] in ("127.0.0.1", "memory")
    assert theirs["xooai.stage.handle"] > 0
    assert theirs["xooai.stage.queue"] > 0


def test_an_error_of_ours_is_told_and_is_the_callers_fault(client_of: Client, recorded: Recorded) -> None:
    with pytest.raises(NotFound):
        client_of(Near()).post(on="lost")
    ours, theirs = recorded.one("near/lost", "CLIENT"), recorded.one("near/lost", "SERVER")
    assert ours.attributes["error.type"] == ours.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert ours.status.status_code.name == "ERROR"
    assert theirs.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert theirs.status.status_code.name == "UNSET"


def test_a_failure_is_the_servers_and_tells_no_secret(client_of: Client, recorded: Recorded) -> None:
    near = client_of(Near())
    for name, kind in (("lost", NotFound), ("broken", Internal)):
        with pytest.raises(kind):
            near.post(on=name)
    failed = recorded.one("near/broken", "SERVER")
    assert failed.status.status_code.name == "ERROR"
    assert failed.attributes["error.type"] == "INTERNAL"
    recorded.one("near/lost", "SERVER")
    written = "".join(span.to_json() for span in recorded.all())
    assert not [secret for secret in SECRETS if secret in written]


def test_a_stream_is_one_span_however_long_it_is(client_of: Client, recorded: Recorded) -> None:
    assert client_of(Relay(client_of(Near()))).post(on="sum", n=500) == sum(range(500))
    for kind in ("SERVER", "CLIENT"):
        span = recorded.one("near/count", kind)
        assert span.attributes["xooai.response.items"] == 500
        assert [event.name for event in span.events] == ["xooai.first_item"]
        assert span.attributes["rpc.response.status_code"] == "OK"
    assert recorded.is_inside(recorded.one("near/count", "CLIENT"), recorded.one("relay/sum", "SERVER"))


def test_a_stream_that_is_left_ends_its_spans(client_of: Client, recorded: Recorded) -> None:
    for _ in client_of(Near()).stream(on="count", n=1_000_000):
        break
    assert recorded.one("near/count", "CLIENT").attributes["rpc.response.status_code"] == "CANCELLED"
    assert recorded.one("near/count", "SERVER").attributes["rpc.response.status_code"] == "CANCELLED"


def test_a_call_within_the_process_is_a_span_of_its_own(recorded: Recorded) -> None:
    with Near(recorded.provider.get_tracer("mine")) as near:
        near.post(on="in_thread")
    assert recorded.is_inside(recorded.one("own", "INTERNAL"), recorded.one("near/in_thread", "INTERNAL"))


def post(url: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """Call as somebody does who is not traced."""
    request = urllib.request.Request(f"{url}{path}", b"{}", {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request) as response:
        return dict(json.load(response))


@pytest.fixture
def url() -> Iterator[str]:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    with Near() as near:
        yield near.start("http://127.0.0.1:0")[0]


def test_a_stranger_makes_up_no_name_of_a_span(url: str, recorded: Recorded) -> None:
    with pytest.raises(HTTPError):
        post(url, f"/near/{'x' * 1000}", {})
    span = recorded.one("_OTHER", "SERVER")
    assert span.attributes["rpc.method"] == "_OTHER"
    assert len(span.attributes["rpc.method_original"]) <= 203
    assert span.attributes["rpc.response.status_code"] == "NOT_FOUND"


def test_a_server_goes_on_with_the_trace_of_whoever_calls(url: str, recorded: Recorded) -> None:
    found = post(url, "/near/on_loop", {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "a=b"})
    span = recorded.one("near/on_loop", "SERVER")
    assert found["trace"] == f"{span.context.trace_id:032x}" == "1" * 32
    assert span.parent.span_id == int("2" * 16, 16)
    assert span.context.trace_state.get("vendor") == "1"


@pytest.mark.parametrize(
    "given",
    [
        "00",
        PARENT.replace("1", "0"),
        PARENT.replace("2", "0"),
        PARENT.replace("00-", "ff-", 1),
        f"{PARENT}-more",
        PARENT.replace("1", "G"),
        f"{PARENT}-{'x' * 2_000}",
    ],
    ids=["short", "no trace", "no span", "version", "more", "no digits", "long"],
)
def test_a_malformed_parent_is_left_out_and_never_logged(
    url: str, recorded: Recorded, caplog: pytest.LogCaptureFixture, given: str
) -> None:
    caplog.set_level(logging.DEBUG)
    post(url, "/near/on_loop", {"traceparent": given, "tracestate": "a=b", "baggage": "a=" + 5_000 * "b"})
    span = recorded.one("near/on_loop", "SERVER")
    assert span.parent is None
    assert not span.context.trace_state
    assert not [record for record in caplog.records if given in record.getMessage() or "bbb" in record.getMessage()]


@pytest.mark.parametrize(
    "beside",
    [
        {"tracestate": "a=b=c"},
        {"tracestate": "A=b"},
        {"tracestate": "a=1,a=2"},
        {"tracestate": ",".join(f"a{number}=b" for number in range(40))},
        {"baggage": "=," * 2_000},
        {"baggage": "no pair," * 500},
        {"baggage": ",".join(f"a{number}=b" for number in range(400))},
        {"baggage": "a=b; c d"},
        {"baggage": "a=" + " " * 4_000 + "é"},
    ],
    ids=range(9),
)
def test_malformed_state_and_baggage_are_left_out_and_never_logged(
    url: str, recorded: Recorded, caplog: pytest.LogCaptureFixture, beside: dict[str, str]
) -> None:
    caplog.set_level(logging.INFO)
    post(url, "/near/on_loop", {"traceparent": PARENT, **beside})
    span = recorded.one("near/on_loop", "SERVER")
    assert f"{span.context.trace_id:032x}" == "1" * 32
    assert not span.context.trace_state
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


PIECES = st.lists(
    st.sampled_from(["a", "b1", "=", ",", ";", " ", "\t", "é", '"', "%41", "@", "A", "*", "x=1"]), max_size=14
)


@given(st.sampled_from(["tracestate", "baggage"]), PIECES)
def test_opentelemetry_reads_the_same_of_what_is_well_formed(name: str, pieces: list[str]) -> None:
    baggages = pytest.importorskip("opentelemetry.baggage")
    propagation = pytest.importorskip("opentelemetry.baggage.propagation")
    contexts = pytest.importorskip("opentelemetry.context")
    api = pytest.importorskip("opentelemetry.trace")

    def read(text: str) -> dict[str, object]:
        if name == "tracestate":
            return dict(api.TraceState.from_header([text]).items())
        found = propagation.W3CBaggagePropagator().extract({"baggage": text}, contexts.Context())
        return dict(baggages.get_all(found))

    text = "".join(pieces)
    assert read(well_formed(name, text)) == read(text)


@given(st.integers(0, 56), st.integers(0, 56), st.text("0123456789abcdefg- \tFé\n", max_size=40))
def test_a_parent_that_counts_is_one_to_opentelemetry_too(first: int, last: int, between: str) -> None:
    text = PARENT[:first] + between + PARENT[last:]
    tracecontext = pytest.importorskip("opentelemetry.trace.propagation.tracecontext")
    api = pytest.importorskip("opentelemetry.trace")
    found = trace_id_of({"traceparent": text})
    context = tracecontext.TraceContextTextMapPropagator().extract({"traceparent": text})
    theirs = api.get_current_span(context).get_span_context()
    assert found == (f"{theirs.trace_id:032x}" if theirs.is_valid and text == text.strip(" \t") else None)


def test_without_tracing_what_a_caller_sent_goes_on_to_the_next_server(client_of: Client) -> None:
    relay = client_of(Relay(client_of(Near())))
    given = {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "a=b"}
    found = relay.post(on="ask", what="on_loop", metadata=given)
    assert found["trace"] == "1" * 32
    assert given.items() <= found["metadata"].items()
    assert "traceparent" not in relay.post(on="ask", what="on_loop")["metadata"]


def test_the_nodes_of_a_flow_are_spans_with_their_calls_inside(client_of: Client, recorded: Recorded) -> None:
    near = client_of(Near())
    flow = Flow(name="chain").add(use=near, on="in_thread", id="first").add(use=numbered, id="second", needs="first")
    flow.add(use=doubled, id="third", needs="second", each=True)
    with flow:
        assert flow.post(n=3) == [0, 2, 4]
    whole = recorded.one("chain/call", "INTERNAL")
    first, second, third = (recorded.one(f"chain.{id}", "INTERNAL") for id in ("first", "second", "third"))
    assert all(recorded.is_inside(node, whole) for node in (first, second, third))
    assert recorded.is_inside(recorded.one("near/in_thread", "CLIENT"), first)
    items = [span for span in recorded.all() if recorded.is_inside(span, third)]
    assert len(items) == 3


def test_the_nodes_that_a_stream_goes_through_are_spans(client_of: Client, recorded: Recorded) -> None:
    flow = Flow(name="flowing").add(use=client_of(Near()), on="count", id="given")
    flow.add(use=doubled, id="twice", needs="given")
    with flow:
        assert list(flow.stream(n=4)) == [0, 2, 4, 6]
    given, twice = recorded.one("flowing.given", "INTERNAL"), recorded.one("flowing.twice", "INTERNAL")
    assert given.attributes["xooai.response.items"] == twice.attributes["xooai.response.items"] == 4
    assert recorded.is_inside(recorded.one("near/count", "CLIENT"), given)
    assert len([span for span in recorded.all() if recorded.is_inside(span, twice)]) == 4


def numbered(told: dict[str, Any]) -> list[int]:
    return [0, 1, 2]


def doubled(number: int) -> int:
    return 2 * number


def test_nobody_loads_opentelemetry_who_does_not_trace() -> None:
    program = (
        "import sys\nfrom xooai import Executor, post\n"
        "class Echo(Executor):\n    @post\n    def echo(self, n: int) -> int:\n        return n\n"
        "with Echo() as e:\n    assert e.post(on='echo', n=1) == 1\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'xooai.layers.trace', 'xooai.watching'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
