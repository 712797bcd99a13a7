"""Traces of runs: where the time of each node went, as figures, as a waterfall and as a file for viewers."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai import DeadlineExceeded, Executor, File, Flow, Internal, Text, Unavailable, current, post, stream
from xooai.flow import Called, Span, State, Trace

Put = Callable[[Executor], dict[str, Any]]
SLEEP = 0.025  # seconds
LEAST = 0.02  # of them: a loop wakes up somewhat early
SIZE = 1024 * 1024  # bytes: more than goes within a message
HI = Text(value="hi")


class Works(Executor):
    def __init__(self) -> None:
        self.failures = 0

    @post
    def slow(self, doc: Text) -> Text:
        time.sleep(SLEEP)
        return doc

    @post
    async def quick(self, doc: Text) -> Text:
        return doc

    @post
    async def each(self, doc: Text) -> list[Text]:
        return [doc] * 40

    @post
    async def fails_once(self, doc: Text) -> Text:
        self.failures += 1
        if self.failures == 1:
            raise Unavailable("away")
        return doc

    @post
    async def boasts(self, doc: Text) -> Text:
        current().reply_metadata["server-timing"] = "fetch;dur=86400000, decode;dur=nan, handle"
        return doc

    @post
    def breaks(self, doc: Text) -> Text:
        time.sleep(SLEEP)
        raise KeyError("no such thing")

    @post(cache=60)
    async def kept(self, doc: Text) -> Text:
        return doc

    @post
    async def hangs(self, doc: Text) -> Text:
        await asyncio.Event().wait()
        return doc

    @stream
    async def items(self, doc: Text) -> AsyncIterator[Text]:
        for number in range(3):
            yield Text(value=str(number))

    @stream
    async def joined(self, docs: AsyncIterator[Text]) -> Text:
        return Text(value="+".join([doc.read() async for doc in docs]))

    @post
    def size(self, doc: File) -> int:
        return len(doc.read())


def spans_of(trace: Trace) -> dict[str, Span]:
    return {span.id: span for span in trace.spans}


def test_the_time_of_a_node_is_told_by_stages_in_every_place(put: Put) -> None:
    works = put(Works())
    with Flow().add(**works, on="slow", id="slow").add(**works, on="quick", id="quick", needs="slow") as f:
        ran = f.run(doc=HI)

    slow, quick = spans_of(ran.trace)["slow"], spans_of(ran.trace)["quick"]
    (call,) = slow.calls
    assert slow.stages["handle"] >= LEAST
    assert set(call.stages) <= {"queue", "decode", "handle", "encode", "transfer"}
    assert sum(call.stages.values()) == pytest.approx(call.ended - call.began)
    assert sum(slow.stages.values()) == pytest.approx(slow.ended - slow.began, abs=0.01)
    assert slow.ended <= quick.began <= quick.ended <= ran.trace.seconds
    is_remote = bool(slow.host)
    assert (slow.sent > 0, slow.received > 0) == (is_remote, is_remote)
    assert call.codec == "application/msgpack"


def test_a_call_that_is_made_anew_is_told_with_the_pause_before_it(put: Put) -> None:
    with Flow().add(**put(Works()), on="fails_once", id="node", retry=1) as f:
        trace = f.run(doc=HI).trace

    (span,) = trace.spans
    assert [call.is_answered for call in span.calls] == [False, True]
    ((began, ended),) = [wait for wait in span.waits if wait[0] > span.calls[0].began]
    assert ended - began >= 0.09
    assert span.stages["queue"] >= 0.09
    assert str(trace).endswith("node: 2 calls, 1 without an answer")
    assert "....." in str(trace)


def test_each_call_for_an_item_is_noted(put: Put) -> None:
    works = put(Works())
    with Flow().add(**works, on="each", id="all").add(**works, on="quick", id="one", needs="all", each=True) as f:
        trace = f.run(doc=HI).trace

    assert len(spans_of(trace)["one"].calls) == 40
    assert "one: 40 calls" in str(trace)


def test_a_reply_that_was_kept_and_contents_that_were_read_are_told(put: Put, tmp_path: Path) -> None:
    works = put(Works())
    with Flow().add(**works, on="kept", id="node") as f:
        assert f.run(doc=HI).trace.spans[0].calls[0].age is None
        second = f.run(doc=HI).trace
    assert second.spans[0].calls[0].age == 0
    assert str(second).endswith("node: its reply was kept, 0 s old")

    (tmp_path / "a.txt").write_text("hello")
    with Flow().add(use=Works, on="size", id="node") as f:
        trace = f.run(doc=File(ref=str(tmp_path / "a.txt"))).trace
    assert trace.spans[0].calls[0].contents == 1
    assert str(trace).endswith("node: 0 of 1 contents were in its cache")


def test_contents_that_go_before_a_message_are_counted(serve: Callable[[Any], str], tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(SIZE))  # a server that has it already is not sent it again

    with Flow().add(use=f"{serve(Works())}/size", id="node") as f:
        ran = f.run(doc=File(ref=str(large)))

    assert ran.result == SIZE
    assert SIZE < ran.trace.spans[0].sent < SIZE + 1000


def test_nodes_that_stream_are_told_with_their_items(put: Put) -> None:
    works = put(Works())
    with Flow().add(**works, on="items", id="gives").add(**works, on="joined", id="takes", needs="gives") as f:
        ran = f.run(doc=HI)

    spans = spans_of(ran.trace)
    assert ran.result.read() == "0+1+2"
    assert (spans["gives"].items, spans["gives"].state) == (3, State.DONE)
    assert spans["takes"].began <= spans["gives"].began <= spans["gives"].ended <= spans["takes"].ended
    assert str(ran.trace).endswith("gives: 3 items")
    check_events(json.loads(ran.trace.chrome()))


def test_a_server_that_tells_of_more_time_than_there_was_is_not_believed(put: Put) -> None:
    with Flow().add(**put(Works()), on="boasts", id="node") as f:
        (span,) = f.run(doc=HI).trace.spans

    (call,) = span.calls
    assert sum(call.stages.values()) == pytest.approx(call.ended - call.began)
    assert min(call.stages.values()) >= -1e-9


# What is traced


def test_only_the_nodes_of_the_flow_that_was_run_are_traced() -> None:
    other = Flow(name="other").add(use=Works, on="quick", id="foreign")

    class Warm(Executor):
        async def setup(self) -> None:
            await other.apost(doc=HI)

        @post
        async def read(self, doc: Text) -> Text:
            return Text(value=(await other.apost(doc=doc)).read())

    with other, Flow().add(use=Warm, id="real") as f:
        ran = f.run(doc=HI)

    assert [span.id for span in ran.trace.spans] == ["real"]
    assert list(ran.replies) == ["real"]
    assert ran.trace.spans[0].inside == ()


def test_the_nodes_of_a_flow_inside_are_told_below_it() -> None:
    inner = Flow(name="inner").add(use=Works, on="slow", id="deep")
    with Flow(name="outer").add(use=inner, id="sub").add(use=Works, on="quick", id="after", needs="sub") as f:
        trace = f.run(doc=HI).trace

    sub = spans_of(trace)["sub"]
    (deep,) = sub.inside
    assert sub.began <= deep.began <= deep.ended <= sub.ended
    assert [line.split("|")[0].rstrip() for line in str(trace).splitlines()[1:4]] == ["sub", "  deep", "after"]


def test_a_run_that_fails_leaves_its_trace_with_the_error(put: Put) -> None:
    works = put(Works())
    meeting = threading.Event()

    def fail(doc: Text) -> Text:
        meeting.wait(20)
        raise KeyError("no such thing")

    f = Flow(name="f").add(**works, on="quick", id="first")
    f.add(**works, on="hangs", id="hangs", needs="first")
    f.add(use=lambda doc: meeting.set(), id="sets", needs="first").add(use=fail, id="fails", needs="first")
    with f, pytest.raises(Internal) as caught:
        f.run(doc=HI)

    trace = caught.value.trace
    assert {span.id: span.state for span in trace.spans} == {
        "first": State.DONE,
        "sets": State.DONE,
        "hangs": State.CANCELLED,
        "fails": State.FAILED,
    }
    assert trace.replies["first"].read() == "hi"
    assert next(line for line in str(trace).splitlines() if line.startswith("fails")).endswith("  failed")


def test_the_stages_of_a_call_that_failed_are_told_too(put: Put) -> None:
    with Flow().add(**put(Works()), on="breaks", id="breaks") as f, pytest.raises(Internal) as caught:
        f.run(doc=HI)

    ((call,),) = [span.calls for span in caught.value.trace.spans]
    assert not call.is_answered
    assert call.stages["handle"] >= LEAST


def test_many_runs_at_once_have_a_trace_each(put: Put) -> None:
    works = put(Works())

    async def all_at_once(f: Flow) -> list[Any]:
        return await asyncio.gather(*(f.arun(doc=Text(value=str(number))) for number in range(50)))

    with Flow().add(**works, on="quick", id="a").add(**works, on="quick", id="b", needs="a") as f:
        found = asyncio.run(all_at_once(f))

    for number, ran in enumerate(found):
        assert [span.id for span in ran.trace.spans] == ["a", "b"]
        assert {reply.read() for reply in ran.trace.replies.values()} == {str(number)}


def test_a_run_whose_time_is_over_leaves_its_trace_with_the_error() -> None:
    with Flow().add(use=Works, on="hangs", id="hangs") as f, pytest.raises(DeadlineExceeded) as caught:
        f.run(doc=HI, timeout=0.2)

    (span,) = caught.value.trace.spans
    assert (span.state, [call.is_answered for call in span.calls]) == (State.CANCELLED, [False])


def test_an_error_of_a_post_has_none() -> None:
    with Flow().add(use=Works, on="hangs", id="hangs") as f, pytest.raises(DeadlineExceeded) as caught:
        f.post(doc=HI, timeout=0.05)

    assert caught.value.trace is None


# The waterfall


def traced(*spans: Span, name: str = "page", seconds: float = 0.01) -> Trace:
    trace = Trace(name)
    trace.spans.extend(spans)
    trace.seconds = seconds
    return trace


def called(began: float, ended: float, **more: Any) -> Called:
    return Called(began, ended, True, **more)


def test_the_waterfall() -> None:
    there, server = (
        {"queue": 0.001, "decode": 0.0005, "handle": 0.002, "encode": 0.0005, "transfer": 0.002},
        "http://a:80",
    )
    message = {"sent": 300, "received": 5000, "codec": "application/msgpack"}
    trace = traced(
        Span("page", 0.006, 0.01, State.FAILED, "words/page", "", (Called(0.006, 0.01, False),)),
        Span("title", 0.0, 0.006, State.DONE, "reader/title", server, (called(0.0, 0.006, stages=there, **message),)),
        Span(
            "body",
            0.0,
            0.001,
            State.DONE,
            "words/clean",
            "",
            (called(0.0, 0.001, stages={"handle": 0.001, "fetch": 0}),),
        ),
        Span("never", 0.006, 0.006, State.SKIPPED, "words/clean", ""),
    )

    assert str(trace) == (
        "page: 10.00 ms\n"
        "body   |#####                                            |  1.00 ms  words/clean in process\n"
        "title  |-----.....<<##########>>-----                    |  6.00 ms  reader/title at http://a:80\n"
        "never  |                                                 |           words/clean in process  skipped\n"
        "page   |                             ====================|  4.00 ms  words/page in process  failed\n"
        "\n"
        "ms     - transfer  . queue  < decode  # handle  > encode   sent  received\n"
        "body                                      1.00\n"
        "title        2.00     1.00      0.50      2.00      0.50  300 B   4.9 KiB"
    )


def test_wide_letters_take_two_columns() -> None:
    spans = [
        Span(id, 0.0, 0.01, State.DONE, "a/b", "", (called(0.0, 0.01, stages={"handle": 0.01}),))
        for id in ("題字", "e\u0301", "plain", "line\nbreak")
    ]

    lines = str(traced(*spans)).splitlines()
    assert len(lines) == 11
    starts = {columns_of(line.partition("|")[0]) for line in lines[1:5]}
    assert starts == {len("line?break  ")}


def columns_of(text: str) -> int:
    return sum(0 if letter == "\u0301" else 1 + (east_asian_width(letter) in "WF") for letter in text)


def test_a_run_without_nodes_and_one_without_time() -> None:
    assert str(traced()) == "page: no node was run"
    assert "a/b in process" in str(traced(Span("a", 0.0, 0.0, State.DONE, "a/b", ""), seconds=0.0))


def test_a_notebook_shows_it_as_text() -> None:
    shown = traced(Span("<b>", 0.0, 0.01, State.DONE, "a/b", ""))._repr_html_()

    assert shown.startswith("<pre>page: ")
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown


SECONDS = st.floats(0, 100)
HOSTS = st.sampled_from(["", "http://a:80", "grpc://b:1"])
STAGES = st.dictionaries(st.sampled_from(["queue", "decode", "fetch", "handle", "encode", "transfer"]), SECONDS)


@st.composite
def some_calls(draw: st.DrawFn, began: float, ended: float) -> tuple[Called, ...]:
    found = []
    for _ in range(draw(st.integers(0, 4))):
        first, last = sorted(draw(st.tuples(st.floats(began, ended), st.floats(began, ended))))
        shares = draw(STAGES)
        total = sum(shares.values())
        stages = {stage: share / total * (last - first) for stage, share in shares.items()} if total else {}
        found.append(Called(first, last, draw(st.booleans()), draw(HOSTS), stages, draw(st.integers(0, 10**12)), 5))
    return tuple(found)


@st.composite
def some_spans(draw: st.DrawFn, depth: int = 1) -> list[Span]:
    found = []
    for id in draw(st.lists(st.text(min_size=1, max_size=40), max_size=4, unique=True)):
        began, ended = sorted(draw(st.tuples(SECONDS, SECONDS)))
        state, host = draw(st.sampled_from(State)), draw(HOSTS)
        inside = tuple(draw(some_spans(depth - 1))) if depth else ()
        found.append(Span(id, began, ended, state, "works/do", host, draw(some_calls(began, ended)), inside))
    return found


@given(some_spans())
def test_every_run_can_be_drawn(spans: list[Span]) -> None:
    drawn = str(traced(*spans, seconds=100.0))

    assert drawn.isprintable() or "\n" in drawn
    if spans:
        rows = len(spans) + sum(len(span.inside) for span in spans)
        assert len(drawn.splitlines()) >= rows + 1
        assert (
            len({line.rindex("|") - line.index("|") for line in drawn.splitlines()[1 : rows + 1] if "||" not in line})
            <= 3
        )


# For viewers


@given(some_spans())
def test_every_run_can_be_shown_by_viewers(spans: list[Span]) -> None:
    check_events(json.loads(traced(*spans, seconds=100.0).chrome()))


def test_a_run_is_shown_by_viewers(put: Put) -> None:
    works = put(Works())
    f = Flow(name="shown").add(**works, on="slow", id="slow")
    f.add(**works, on="each", id="all", needs="slow").add(**works, on="quick", id="one", needs="all", each=True)
    with f.add(**works, on="quick", id="never", needs="slow", when=lambda doc: False):
        trace = f.run(doc=HI).trace

    assert repr(trace).startswith("<Trace of 'shown': 4 nodes, ")
    document = json.loads(trace.chrome())
    check_events(document)
    events = {event["name"]: event for event in document["traceEvents"]}
    assert events["slow"]["dur"] >= LEAST * 1e6
    assert events["slow"]["args"]["handle_ms"] >= LEAST * 1e3
    assert events["handle"]["cat"] == "stage"
    assert events["never"]["ph"] == "i"
    assert {"one [1]", "one [40]", "shown"} <= events.keys()


def check_events(document: Any) -> None:
    """As the format has them: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU"""
    assert document.keys() == {"traceEvents", "displayTimeUnit"}
    rows: dict[tuple[int, int], list[tuple[float, float]]] = {}
    named = set()
    for event in document["traceEvents"]:
        assert type(event["pid"]) is int
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert type(event["args"]["name"]) is str
            named.add((event["pid"], event.get("tid")))
            continue
        assert (event["pid"], event["tid"]) in named
        assert (event["pid"], None) in named
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            rows.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
            assert {type(event["ts"]), type(event["dur"])} == {int}
        else:
            assert (event["ph"], event["s"]) == ("i", "t")
    for events in rows.values():  # those of a row lie within each other or apart
        for (began, ended), (other, end) in pairwise(sorted(events, key=lambda event: (event[0], -event[1]))):
            assert began <= other
            assert other >= ended or end <= ended
