"""A served Flow tells its own nodes to a caller that asks for times; a trace shows them below the node, and believes little."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority import Authority
from everywhere import served
from xooai import Executor, Flow, NotFound, Text, current, post
from xooai.flow import Called, Span, State, Trace
from xooai.flow.inner import MOST, spans, written

HI = Text(value="hi")
CALL = Called(1.0, 2.0, True, "http://host", {"transfer": 0.2, "queue": 0.1})


class Works(Executor):
    @post
    def upper(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())

    @post
    def fails(self, doc: Text) -> Text:
        raise NotFound("no such page")

    @post
    def forges(self, doc: Text) -> Text:
        current().reply_metadata["server-timing"] = ", ".join(
            [
                'node;desc="%1b[2J%0aforged%ff";start=0.00;dur=999999999.00;depth=9;state=done',
                'node;desc="odd";start=-1;dur=nan;depth=0;state=done',
                'node;desc="odd";start=0.00;dur=0.00;depth=0;state=risen',
                *['node;desc="many";start=0.00;dur=1.00;depth=1;state=failed'] * 90,
                'nodes;desc="7 more"',
            ]
        )
        return doc


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """Serve a Flow or an executor over a driver: its URL, with its name."""
    return lambda one: f"{served(one, request.param, request, monkeypatch)}/{one.name}"


def tree(found: Any) -> Any:
    return {span.id: tree(span.inside) for span in sorted(found, key=lambda span: span.began)}


def test_a_trace_shows_the_nodes_of_a_flow_elsewhere_and_those_inside_of_them(place: Callable[[Any], str]) -> None:
    local = Flow(name="local").add(use=Works, on="upper", id="low")
    with Flow(name="deep").add(use=Works, on="upper", id="deepest") as deep:
        middle = Flow(name="middle").add(use=Works, on="upper", id="one")
        middle.add(use=f"{place(deep)}/call", id="there", needs="one").add(use=local, id="here", needs="there")
        with middle, Flow(name="f").add(use=f"{place(middle)}/call", id="middle") as f:
            ran = f.run(doc=HI)

    assert ran.result.read() == "HI"
    assert tree(ran.trace.spans) == {"middle": {"one": {}, "there": {"deepest": {}}, "here": {"low": {}}}}
    (span,) = ran.trace.spans
    assert all(span.began <= one.began <= one.ended <= span.ended for one in span.inside)
    assert all((one.path, one.host, one.state) == ("", span.host, State.DONE) for one in span.inside)
    rows = [row.split("|")[0].rstrip() for row in str(ran.trace).splitlines()[1:7]]
    assert rows == ["middle", "  one", "  there", "    deepest", "  here", "    low"]
    assert "middle/there/deepest" in ran.trace.chrome()


def test_the_nodes_are_told_beside_an_error_too(place: Callable[[Any], str]) -> None:
    with Flow(name="middle").add(use=Works, on="upper", id="one") as middle:
        middle.add(use=Works, on="fails", id="two", needs="one").add(use=Works, on="upper", id="three", needs="two")
        with Flow().add(use=f"{place(middle)}/call", id="middle") as f, pytest.raises(NotFound) as caught:
            f.run(doc=HI)

    assert caught.value.trace is not None
    (span,) = caught.value.trace.spans
    assert {one.id: one.state for one in span.inside} == {"one": State.DONE, "two": State.FAILED}


def test_nodes_are_told_to_who_asks_and_to_nobody_else(serve: Callable[[Any], str]) -> None:
    with Flow(name="middle").add(use=Works, on="upper", id="one") as middle:
        host, path = serve(middle).removeprefix("http://").split("/", 1)

        def told(headers: dict[str, str]) -> str:
            connection = http.client.HTTPConnection(host)
            connection.request("POST", f"/{path}/call", b'{"doc": {"value": "hi"}}', headers)
            with contextlib.closing(connection), connection.getresponse() as response:
                assert response.status == 200
                return response.headers.get("server-timing", "")

        json = {"content-type": "application/json"}
        assert told(json) == ""
        assert re.search(
            r'(^|, )node;desc="one";start=[0-9.]+;dur=[0-9.]+;depth=0;state=done(, |$)',
            told({**json, "xooai-timing": "1"}),
        )


def test_a_flow_tells_of_as_many_nodes_as_there_is_room_for(place: Callable[[Any], str]) -> None:
    with Flow(name="wide") as wide:
        for number in range(100):
            wide.add(use=Works, on="upper", id=f"節{number}" * 10)
        with Flow().add(use=f"{place(wide)}/call", id="wide") as f:
            trace = f.run(doc=HI).trace

    (span,) = trace.spans
    (call,) = span.calls
    assert 5 < len(span.inside) <= MOST
    assert len(span.inside) + call.untold == 100
    assert str(trace).endswith(f"wide: {call.untold} more nodes inside")


def test_what_a_server_makes_up_is_held_within_bounds(place: Callable[[Any], str]) -> None:
    with Works() as works, Flow().add(use=f"{place(works)}/forges", id="node") as f:
        trace = f.run(doc=HI).trace

    (span,) = trace.spans
    assert sum(1 for _ in every(span.inside)) == MOST
    assert span.calls[0].untold >= 7
    assert all(span.began <= one.began <= one.ended <= span.ended for one in every(span.inside))
    assert all(line.isprintable() for line in str(trace).splitlines())
    assert "?[2J?forged" in str(trace)
    assert len(str(trace).splitlines()) < MOST + 10


def every(found: Any) -> Iterator[Span]:
    for span in found:
        yield span
        yield from every(span.inside)


@given(st.text(max_size=400))
def test_any_text_is_read_as_something_within_the_call(text: str) -> None:
    for one in every(spans(f'node;desc="{text}";start=1.00;dur=1.00;depth=0;state=done, {text}', CALL)[0]):
        assert CALL.began <= one.began <= one.ended <= CALL.ended


@given(
    st.lists(st.tuples(st.text(max_size=80), st.floats(0, 100), st.floats(0, 100), st.sampled_from(State)), max_size=80)
)
def test_whatever_nodes_are_called_what_is_told_of_them_is_read_back(nodes: list[Any]) -> None:
    trace = Trace("f")
    trace.spans = [Span(id, began, began + took, state, "path", "") for id, began, took, state in nodes]

    text = written(trace)
    told, untold = spans(text, CALL)

    assert len(text) < 4096 and text.isascii() and text.isprintable()
    assert len(told) + untold == len(nodes)
    expected = sorted(trace.spans, key=lambda span: (span.began, span.ended))
    shown = [span.id[:32].encode(errors="replace").decode() for span in expected]
    assert [span.id for span in told] == shown[: len(told)]
