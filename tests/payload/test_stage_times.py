"""How long the stages of a call took: told to a caller that asks, and to no other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payload_kit import INLINE, Place, made, within

from xooai import Executor, File, Text, current, post
from xooai.call import Call, Service
from xooai.metadata import Inquiry
from xooai.testing.memory_store import MemoryStore
from xooai.timing import STAGES, Told, read_timing

SLEEP = 0.025  # seconds
LEAST = 0.02  # of them: a loop wakes up somewhat early
HI = Text(value="hi")


class Slow(Executor):
    @post
    def thread(self, doc: Text) -> Text:
        time.sleep(SLEEP)
        return doc

    @post
    async def loop(self, doc: Text) -> Text:
        await asyncio.sleep(SLEEP)
        return doc

    @post
    async def fails(self, doc: Text) -> Text:
        await asyncio.sleep(SLEEP)
        raise KeyError("no such thing")

    @post
    async def tells(self, doc: Text) -> Text:
        current().reply_metadata["server-timing"] = "db;dur=53"
        return doc

    @post(cache=60)
    async def kept(self, doc: Text) -> Text:
        await asyncio.sleep(SLEEP)
        return doc

    @post(batch_size=8, batch_wait=SLEEP)
    async def together(self, docs: list[Text]) -> list[Text]:
        await asyncio.sleep(2 * SLEEP)
        return docs

    @post
    def read(self, docs: list[File]) -> int:
        return sum(len(doc.read()) for doc in docs)

    @post
    async def read_at_once(self, docs: list[File]) -> int:
        return sum(map(len, await asyncio.gather(*(doc.aread() for doc in docs))))


def asked(client: Executor, on: str, **arguments: Any) -> Inquiry:
    inquiry = Inquiry({"x-own": "1"})
    within(client.apost(on, metadata=inquiry, **arguments))
    return inquiry


def told(inquiry: Inquiry) -> Told:
    return read_timing(inquiry.beside["server-timing"])


@pytest.mark.parametrize("on", ["thread", "loop"])
def test_every_driver_tells_them(each_driver: Place, on: str) -> None:
    inquiry = asked(each_driver(Slow()), on, doc=HI)

    seconds = told(inquiry).seconds
    assert LEAST <= seconds["handle"] < 1
    assert seconds.keys() <= set(STAGES) - {"fetch"}
    assert (inquiry.sent, inquiry.received, inquiry.codec) == (25, 20, "application/msgpack")


def test_they_are_told_in_process_too() -> None:
    with Slow() as slow:
        assert told(asked(slow, "thread", doc=HI)).seconds["handle"] >= LEAST
        inquiry = asked(slow, "loop", doc=HI)

    assert told(inquiry).seconds["handle"] >= LEAST
    assert (inquiry.sent, inquiry.received) == (0, 0)


def headers_of(url: str, on: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    request = Request(f"{url}/{on}", b'{"doc": {"value": "hi"}}', {"content-type": "application/json", **headers})
    try:
        with urlopen(request) as reply:
            return dict(reply.headers)
    except HTTPError as error:
        with error:
            return dict(error.headers)


def test_who_does_not_ask_is_not_told(over_http: Place) -> None:
    url = over_http.serve(Slow())

    assert "server-timing" in headers_of(url, "loop", {"xooai-timing": "1"})
    assert "server-timing" not in headers_of(url, "loop", {})
    assert read_timing(headers_of(url, "fails", {"Xooai-Timing": "1"})["server-timing"]).seconds["handle"] >= LEAST
    assert "server-timing" not in headers_of(url, "fails", {})


def test_those_of_a_handler_stay(over_http: Place) -> None:
    assert asked(over_http(Slow()), "tells", doc=HI).beside["server-timing"].startswith("db;dur=53, ")


def test_a_layer_that_waits_is_a_queue(over_http: Place) -> None:
    def waits(service: Service) -> Service:
        async def waiting(call: Call) -> None:
            await asyncio.sleep(SLEEP)
            await service(call)

        return waiting

    assert told(asked(over_http(Slow(layers=[waits])), "tells", doc=HI)).seconds["queue"] >= LEAST


def test_a_call_waits_for_its_batch_in_a_queue(over_http: Place) -> None:
    client = over_http(Slow())

    async def several() -> list[Inquiry]:
        inquiries = [Inquiry({}) for _ in range(4)]
        await asyncio.gather(*(client.apost("together", metadata=one, docs=HI) for one in inquiries))
        return inquiries

    for inquiry in within(several()):
        seconds = told(inquiry).seconds
        assert seconds["handle"] >= 2 * LEAST
        assert seconds.keys() >= {"queue", "decode", "encode"}


def test_a_reply_that_is_kept_keeps_no_times(over_http: Place) -> None:
    url = over_http.serve(Slow())
    with Executor(url) as client:
        first, second = asked(client, "kept", doc=HI), asked(client, "kept", doc=HI)

    assert told(first).seconds["handle"] >= LEAST
    assert "xooai-cached" not in first.beside
    assert told(second).seconds.keys() <= {"queue", "decode"}  # it was read, to find the reply
    assert second.beside["xooai-cached"].isdecimal()
    assert "server-timing" not in headers_of(url, "kept", {})


class Late(MemoryStore):
    """Gives each content after a while."""

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> Any:
        await asyncio.sleep(SLEEP)
        async for chunk in super().get(signature, start, end):
            yield chunk


@pytest.mark.parametrize("on", ["read", "read_at_once"])
def test_contents_that_a_handler_reads_are_fetched(place: Place, tmp_path: Path, on: str) -> None:
    store = Late("stage-times", "team")
    server = place.serve(Slow(store=store))
    docs = [File(ref=str(made(tmp_path / str(number), INLINE + 1))) for number in range(2)]
    with Executor(server, store=store) as client:
        first = told(asked(client, on, docs=docs))
        second = told(asked(client, on, docs=docs))

    assert (first.contents, first.cached) == (2, 0)
    assert (second.contents, second.cached) == (2, 2)
    assert first.seconds["fetch"] >= LEAST
    if on == "read_at_once":
        assert first.seconds["fetch"] < sum(first.seconds.values())


def test_a_local_file_is_fetched_too(tmp_path: Path) -> None:
    with Slow() as slow:
        assert told(asked(slow, "read", docs=[File(ref=str(made(tmp_path / "a")))])).contents == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Told()),
        ("handle;dur=1.5", Told({"handle": 0.0015})),
        ('queue;dur=2;desc="a b", db;dur=3, handle', Told({"queue": 0.002})),
        ('contents;desc="3 read, 2 cached"', Told({}, 3, 2)),
        ('contents;desc="1 read, 2 cached"', Told({}, 1, 1)),
        ("handle;dur=-1, encode;dur=nan, decode;dur=1e9, fetch;dur=inf", Told({"decode": 0.001})),
        ("handle;dur=" + "9" * 100, Told({"handle": 999999.999})),
    ],
)
def test_what_a_server_tells_is_read_as_far_as_it_is_understood(text: str, expected: Told) -> None:
    assert read_timing(text) == expected


@given(st.text())
def test_anything_may_stand_there(text: str) -> None:
    found = read_timing(text)

    assert set(found.seconds) <= set(STAGES)
    assert 0 <= found.cached <= found.contents
