"""Streams as the HTTP driver's server speaks them: to raw sockets, http.client, curl, and behind another server."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import struct
import time
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from echo_site import RawClient, Run, connected
from http_talker import (
    EVENTS,
    JSON_FRAMES,
    LAST_CHUNK,
    LINES,
    MSGPACK_FRAMES,
    OVER,
    CutOff,
    Streamed,
    Talker,
    chunk,
    items,
    lines,
    opening,
    streaming,
    talking,
)
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount
from test_asgi import hosted, pass_on
from test_leaving import WAYS_TO_LEAVE, reset

from xooai.driver import ListenOptions
from xooai.errors import Code
from xooai.mount import application
from xooai.wire import END, ITEM, FrameReader, frame
from xooai_http.limits import Limits

SOON = 5  # seconds: far more than anything here takes
LEFT = 1.0  # seconds in which the server sees that a client has left, while it reads nothing from it


async def streamed(client: RawClient, request: bytes) -> Streamed:
    client.write(request)
    response = Streamed(client)
    await asyncio.wait_for(response.head(), SOON)
    return response


def events(body: bytes) -> list[tuple[str, Any]]:
    """Type and data of each event, as a browser's EventSource takes them apart (HTML, 9.2.6)."""
    found, kind, data = [], "message", list[str]()
    for line in body.decode().split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                found.append((kind, json.loads("\n".join(data))))
            kind, data = "message", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
    return found


# Replies that stream


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/json", LINES, "text/html, application/xml;q=0.9, */*;q=0.8"]
)
def test_a_stream_of_replies_is_a_line_of_json_each(run: Run, accept: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            headers = [f"Accept: {accept}"] if accept else []
            for _ in range(2):  # the connection is kept
                response = await streamed(client, opening("count", {"n": 3}, *headers))
                assert (response.status, response.headers["content-type"]) == (200, LINES)
                assert await response.rest() == b"0\n1\n2\n"
            response = await streamed(client, opening("steps", {"n": 1}))
            assert [json.loads(line)["value"] for line in (await response.rest()).splitlines()] == ["0"]
            assert await (await streamed(client, opening("count", {"n": 0}))).rest() == b""

    run(scene())


@pytest.mark.parametrize("accept", [EVENTS, f"{EVENTS}, {LINES};q=0.5", "text/*"])
def test_a_stream_of_replies_is_events_for_who_accepts_them(run: Run, accept: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            response = await streamed(client, opening("count", {"n": 3}, f"Accept: {accept}"))
            assert (response.headers["content-type"], response.headers["cache-control"]) == (EVENTS, "no-store")
            assert events(await response.rest()) == [("message", 0), ("message", 1), ("message", 2)]

    run(scene())


@pytest.mark.parametrize(("accept", "decode"), [(JSON_FRAMES, json.loads), (MSGPACK_FRAMES, msgspec.msgpack.decode)])
def test_a_stream_of_replies_is_frames_for_a_peer(run: Run, accept: str, decode: Any) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            response = await streamed(client, opening("count", {"n": 3}, f"Accept: {accept}"))
            assert response.headers["content-type"] == accept
            *found, (last, outcome) = FrameReader(100).feed(await response.rest())
            assert [(kind, decode(content)) for kind, content in found] == [(ITEM, 0), (ITEM, 1), (ITEM, 2)]
            assert (last, json.loads(outcome)) == (END, {"code": 0})

    run(scene())


@pytest.mark.parametrize("accept", [LINES, EVENTS, JSON_FRAMES])
def test_the_first_item_is_out_before_the_second_exists(run: Run, accept: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            response = await streamed(client, opening("pair", {}, f"Accept: {accept}"))
            assert b'"first"' in (await asyncio.wait_for(response.chunk(), SOON) or b"")
            assert not talker.closed.is_set()
            talker.released.set()
            assert b'"second"' in await response.rest()

    run(scene())


@pytest.mark.parametrize("accept", [LINES, EVENTS, JSON_FRAMES])
def test_an_error_before_the_first_item_is_a_plain_answer(run: Run, accept: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            failed = await client.ask(opening("fail", {"n": 0}, f"Accept: {accept}"))
            assert (failed.status, failed.problem["code"], failed.problem["details"]) == (404, Code.NOT_FOUND, {"n": 0})
            invalid = await client.ask(opening("fail", {"n": "x"}, f"Accept: {accept}"))
            assert (invalid.status, invalid.problem["details"]["errors"][0]["loc"]) == (422, ["n"])
            assert (await streamed(client, opening("count", {"n": 1}))).status == 200

    run(scene())


def test_an_error_after_items_is_told_and_the_body_is_not_whole(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for accept in (LINES, EVENTS):
                async with connected(listener.url) as client:
                    response = await streamed(client, opening("fail", {"n": 2}, f"Accept: {accept}"))
                    found = b"".join([await response.chunk() or b"" for _ in range(3)])
                    with pytest.raises(CutOff):
                        await response.chunk()
                if accept == EVENTS:
                    *before, (kind, problem) = events(found)
                    assert (before, kind) == ([("message", 0), ("message", 1)], "error")
                else:
                    *numbers, last = [json.loads(line) for line in found.splitlines()]
                    assert numbers == [0, 1]
                    problem = last["error"]
                assert (problem["code"], problem["status"], problem["details"]) == (Code.NOT_FOUND, 404, {"n": 2})

    run(scene())


def test_an_error_after_items_is_the_last_frame_for_a_peer(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            for _ in range(2):  # the connection is kept
                response = await streamed(client, opening("fail", {"n": 1}, f"Accept: {JSON_FRAMES}"))
                first, (kind, problem) = await response.frames()
                assert (first, kind) == ((ITEM, 0), END)
                assert (problem["code"], problem["detail"]) == (Code.NOT_FOUND, "there is no item 1")

    run(scene())
    assert not caplog.records


def test_a_stream_of_replies_is_not_for_http_1_0(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            response = await client.ask(opening("count", {"n": 3}).replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert (response.status, response.problem["code"]) == (501, Code.UNIMPLEMENTED)

    run(scene())


def test_a_call_that_streams_takes_post_alone(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            response = await client.ask(b"GET /talker/count HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (response.status, response.headers["allow"]) == (405, "POST")

    run(scene())


# A page's EventSource, which can only GET


def wanted(query: str, *headers: str) -> bytes:
    lines = [f"GET /talker/{query} HTTP/1.1", "Host: localhost", f"Accept: {EVENTS}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_an_event_source_gets_items_and_learns_that_all_came(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            response = await streamed(client, wanted(f"count?arguments={quote(json.dumps({'n': 2}))}"))
            body = await response.rest()
            assert body.startswith(b"id: 0\n\n")
            assert events(body) == [("message", 0), ("message", 1), ("end", {})]
            client.write(wanted("count", "Last-Event-ID: 0"))  # it asks again: 204 tells it to stop (HTML, 9.2.3)
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
            failed = await client.ask(wanted("fail?arguments=%7B%22n%22%3A0%7D"))
            assert (failed.status, failed.problem["code"]) == (404, Code.NOT_FOUND)

    run(scene())


NOT_OF_A_PAGE = [
    ("count?n=3", [], 400),
    ("count?arguments=%7B%7D&arguments=%7B%7D", [], 400),
    ("count?arguments=3", [], 422),
    ("count", [], 422),
    ("count", ["Origin: http://evil.example"], 403),
    ("count", ["Sec-Fetch-Site: cross-site"], 403),
    ("total", [], 405),
    ("say", [], 405),
]


@pytest.mark.parametrize(("query", "headers", "status"), NOT_OF_A_PAGE)
def test_a_get_that_is_no_call_of_an_own_page_is_refused(run: Run, query: str, headers: list[str], status: int) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            assert (await client.ask(wanted(query, *headers))).status == status

    run(scene())


# Requests that stream


def test_a_long_line_is_not_gone_through_again_with_each_piece_of_it(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            client.write(streaming("total", LINES) + lines({}))
            used = time.process_time()
            for _ in range(24):
                client.write(chunk(b" " * 2**20))
                await client.writer.drain()
            client.write(chunk(b"7\n") + LAST_CHUNK)
            response = await asyncio.wait_for(client.response(), 60)
            assert (response.status, response.body) == (200, b"7")
            assert time.process_time() - used < 2  # seconds; gone through each time, the line takes 6

    run(scene())


@pytest.mark.parametrize("content_type", [LINES, JSON_FRAMES, "application/jsonl; charset=utf-8"])
def test_a_stream_of_requests_gets_one_reply(run: Run, content_type: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            for _ in range(2):  # the connection is kept
                is_framed = content_type == JSON_FRAMES
                write = items if is_framed else lines
                client.write(streaming("total", content_type) + write({"scale": 10}))
                await asyncio.wait_for(talker.started.wait(), SOON)  # before the body is whole
                talker.started.clear()
                client.write(write(1, 2) + write(3) + (OVER if is_framed else LAST_CHUNK))
                response = await asyncio.wait_for(client.response(), SOON)
                assert (response.status, response.headers["content-type"], response.body) == (
                    200,
                    "application/json",
                    b"60",
                )

    run(scene())


def test_a_stream_of_requests_may_come_byte_by_byte(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            body = frame(ITEM, b"{}") + frame(ITEM, b"20") + frame(ITEM, b"22") + frame(END, b"")
            for byte in streaming("total", JSON_FRAMES) + b"".join(chunk(bytes([one])) for one in body) + LAST_CHUNK:
                client.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.response()).body == b"42"
            text = b'{"scale": 1}\r\n\r\n  \n20\n22'  # blank lines, and a last one without its end
            head = streaming("total", LINES).replace(b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(text))
            assert (await client.ask(head + text)).body == b"42"

    run(scene())


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize("endpoint", ["total", "shout"])
def test_what_is_no_stream_is_refused_where_one_is_taken(run: Run, endpoint: str, content_type: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            response = await client.ask(streaming(endpoint, content_type) + chunk(b"{}"))
            assert (response.status, response.headers["connection"]) == (415, "close")
            assert all(name in response.problem["detail"] for name in (LINES, JSON_FRAMES, MSGPACK_FRAMES))
            assert await client.is_closed()

    run(scene())


def test_items_go_both_ways_in_turn(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            client.write(streaming("shout", JSON_FRAMES, f"Accept: {JSON_FRAMES}") + items({}, "a"))
            response = await Streamed(client).head()
            assert await response.frame() == (ITEM, "A")
            for word in ("b", "c"):
                client.write(items(word))
                assert await asyncio.wait_for(response.frame(), SOON) == (ITEM, word.upper())
            client.write(OVER)
            assert await response.frames() == [(END, {"code": 0})]
            response = await streamed(client, streaming("shout", LINES) + lines({}, "kept") + LAST_CHUNK)
            assert await response.rest() == b'"KEPT"\n'

    run(scene())


@pytest.mark.parametrize("content_type", [LINES, JSON_FRAMES])
def test_an_answer_that_comes_early_arrives_while_the_client_sends_on(run: Run, content_type: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            write = items if content_type == JSON_FRAMES else lines
            client.write(streaming("first", content_type) + write({}, 7))
            for _ in range(100):  # more than the window holds
                client.write(write("x" * 10_000))
            response = await asyncio.wait_for(client.response(), SOON)
            assert (response.status, response.body, response.headers["connection"]) == (200, b"7", "close")
            assert await asyncio.wait_for(client.is_closed(), SOON)

    run(scene())


def test_an_error_while_the_client_sends_on_is_its_last_frame_or_line(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            async with connected(listener.url) as client:
                response = await streamed(
                    client, streaming("shout", JSON_FRAMES, f"Accept: {JSON_FRAMES}") + items({}, "a")
                )
                client.write(items("fail"))
                first, (kind, problem) = await asyncio.wait_for(response.frames(), SOON)
                assert (first, kind, problem["code"]) == ((ITEM, "A"), END, Code.NOT_FOUND)
                assert await asyncio.wait_for(client.is_closed(), SOON)
            async with connected(listener.url) as client:
                response = await streamed(client, streaming("shout", LINES) + lines({}, "a"))
                client.write(lines("fail", "b"))
                assert await response.chunk() == b'"A"\n'
                assert json.loads(await response.chunk() or b"")["error"]["code"] == Code.NOT_FOUND
                with pytest.raises(CutOff):
                    await asyncio.wait_for(response.chunk(), SOON)

    run(scene())


# What is wrong with a stream


BROKEN = {
    "a first byte that is no kind": (JSON_FRAMES, chunk(b"\x07\0\0\0\1x"), 400, Code.INVALID_ARGUMENT),
    "text": (JSON_FRAMES, lines({}, 1), 400, Code.INVALID_ARGUMENT),
    "an item that is no JSON": (JSON_FRAMES, items({}) + chunk(frame(ITEM, b"\xff")), 400, Code.INVALID_ARGUMENT),
    "an item that does not validate": (JSON_FRAMES, items({}, "one"), 422, Code.INVALID_ARGUMENT),
    "a line that is no JSON": (LINES, lines({}) + chunk(b"{]\n"), 400, Code.INVALID_ARGUMENT),
    "no opening": (LINES, LAST_CHUNK, 400, Code.INVALID_ARGUMENT),
    "an opening that does not validate": (LINES, lines({"scale": "x"}), 422, Code.INVALID_ARGUMENT),
    "no end": (JSON_FRAMES, items({}, 1) + LAST_CHUNK, 503, Code.UNAVAILABLE),
    "half a frame at the end": (
        JSON_FRAMES,
        items({}) + chunk(frame(ITEM, b"12")[:-1]) + LAST_CHUNK,
        503,
        Code.UNAVAILABLE,
    ),
    "a chunk that is none": (LINES, lines({}) + b"zz\r\n", 400, Code.INVALID_ARGUMENT),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_stream_gets_an_error_and_harms_no_other(
    run: Run, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    content_type, body, status, code = BROKEN[case]

    async def scene() -> None:
        async with talking() as (listener, _):
            async with connected(listener.url) as client:
                response = await asyncio.wait_for(client.ask(streaming("total", content_type) + body), SOON)
                assert (response.status, response.problem["code"]) == (status, code)
            async with connected(listener.url) as client:
                assert (await client.ask(streaming("total", LINES) + lines({}, 1) + LAST_CHUNK)).body == b"1"

    run(scene())
    assert not caplog.records


TOO_LARGE = {
    JSON_FRAMES: items({}) + chunk(struct.pack(">BI", ITEM, 1001)),
    LINES: lines({}) + chunk(b"1" * 1001),
}


@pytest.mark.parametrize("content_type", TOO_LARGE)
def test_an_item_that_is_too_large_is_refused_when_it_is_announced(run: Run, content_type: str) -> None:
    async def scene() -> None:
        async with talking(ListenOptions(message_limit=1000)) as (listener, _), connected(listener.url) as client:
            client.write(streaming("total", content_type) + TOO_LARGE[content_type])
            refused = await asyncio.wait_for(client.response(), SOON)
            assert (refused.status, refused.problem["details"]["reason"]) == (413, "size")

    run(scene())


@pytest.mark.parametrize("content_type", [JSON_FRAMES, LINES])
def test_items_before_what_is_refused_are_not_lost(run: Run, content_type: str) -> None:
    """Also where all of it comes at once."""
    written = items({}, 7) if content_type == JSON_FRAMES else lines({}, 7)
    bad = TOO_LARGE[content_type].removeprefix(items({}) if content_type == JSON_FRAMES else lines({}))

    async def scene() -> None:
        async with talking(ListenOptions(message_limit=1000)) as (listener, _), connected(listener.url) as client:
            client.write(streaming("first", content_type) + written + bad)
            answer = await asyncio.wait_for(client.response(), SOON)
            assert (answer.status, answer.body) == (200, b"7")

    run(scene())


def test_a_stream_may_be_larger_than_an_item(run: Run) -> None:
    async def scene() -> None:
        async with talking(ListenOptions(message_limit=1000)) as (listener, _), connected(listener.url) as client:
            many = b"".join(items("x" * 900) for _ in range(10))
            response = await streamed(client, streaming("shout", JSON_FRAMES) + items({}) + many + OVER)
            assert len(await response.rest()) == 10 * 903

    run(scene())


def test_a_stream_of_a_known_length_may_be_larger_than_an_item(run: Run) -> None:
    async def scene() -> None:
        async with talking(ListenOptions(message_limit=1000)) as (listener, _), connected(listener.url) as client:
            text = b"{}\n" + b"1\n" * 5000
            head = streaming("total", LINES).replace(b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(text))
            assert (await client.ask(head + text)).body == b"5000"
            assert (await client.ask(opening("count", {"n": 1, "pad": "x" * 1000}))).status == 413

    run(scene())


def test_a_body_of_chunk_framing_alone_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with talking(limits=Limits(overhead=2000)) as (listener, _), connected(listener.url) as client:
            client.write(streaming("total", LINES) + lines({}))
            for _ in range(100):
                client.write(b"1;" + b"x" * 100 + b"\r\n \r\n")
            response = await asyncio.wait_for(client.response(), SOON)
            assert (response.status, "chunk framing" in response.problem["detail"]) == (400, True)

    run(scene())


def test_streams_of_many_small_chunks_are_no_attack(run: Run) -> None:
    async def scene() -> None:
        async with talking(limits=Limits(overhead=2000)) as (listener, _), connected(listener.url) as client:
            client.write(streaming("total", LINES) + lines({}) + lines(1) * 5000 + LAST_CHUNK)
            assert (await asyncio.wait_for(client.response(), SOON)).body == b"5000"

    run(scene())


def test_all_streams_together_may_hold_so_much(run: Run) -> None:
    async def scene() -> None:
        async with talking(limits=Limits(buffered=100_000)) as (listener, _):
            for _ in range(2):  # what was held is given back
                async with connected(listener.url) as client:
                    client.write(streaming("total", LINES) + lines({}) + chunk(b"1" * 150_000))
                    response = await asyncio.wait_for(client.response(), SOON)
                    assert (response.status, response.problem["code"]) == (503, Code.RESOURCE_EXHAUSTED)
                async with connected(listener.url) as client:
                    response = await client.ask(streaming("total", LINES) + lines({}) + lines(1) * 9000 + LAST_CHUNK)
                    assert response.body == b"9000"

    run(scene())


# Time, and clients that leave


def test_a_stream_may_be_silent_between_its_items(run: Run) -> None:
    async def scene() -> None:
        limits = Limits(window=0.1, sweep=0.02, head_time=0.1, keep_alive=0.1)
        async with talking(limits=limits) as (listener, _), connected(listener.url) as client:
            client.write(streaming("shout", JSON_FRAMES, f"Accept: {JSON_FRAMES}") + items({}, "a"))
            response = await Streamed(client).head()
            assert await response.frame() == (ITEM, "A")
            await asyncio.sleep(0.5)  # longer than every limit
            client.write(items("b"))
            assert await response.frame() == (ITEM, "B")

    run(scene())


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "trickling"])
@pytest.mark.parametrize("content_type", [JSON_FRAMES, LINES])
def test_an_item_that_has_begun_must_move(run: Run, content_type: str, is_silent: bool) -> None:
    async def scene() -> None:
        async with talking(limits=Limits(window=0.2, sweep=0.05)) as (listener, _), connected(listener.url) as client:
            head = items({}) if content_type == JSON_FRAMES else lines({})
            client.write(streaming("total", content_type) + head + chunk(struct.pack(">BI", ITEM, 500)))
            answer = asyncio.ensure_future(client.response())
            while not answer.done():
                if not is_silent:
                    client.write(chunk(b"1"))
                await asyncio.wait([answer], timeout=0.05)
            assert (answer.result().status, answer.result().problem["code"]) == (504, Code.DEADLINE_EXCEEDED)

    run(scene())


def test_a_call_that_streams_keeps_its_deadline(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            response = await streamed(client, opening("pair", {}, f"Accept: {JSON_FRAMES}", "xooai-timeout: 200"))
            first, (kind, problem) = await asyncio.wait_for(response.frames(), SOON)
            assert (first, kind, problem["code"]) == ((ITEM, "first"), END, Code.DEADLINE_EXCEEDED)
            assert talker.cancelled.is_set()

    run(scene())


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
@pytest.mark.parametrize("endpoint", ["pair", "shout", "ignore"])
def test_a_client_that_leaves_cancels_its_stream(
    run: Run, way: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            client.write(opening("pair") if endpoint == "pair" else streaming(endpoint, LINES) + lines({}))
            await talker.started.wait()
            WAYS_TO_LEAVE[way](client.writer)
            await asyncio.wait_for(talker.cancelled.wait(), 0.5)

    run(scene())
    assert not caplog.records


@pytest.mark.parametrize("way", ["closes", "resets"])
def test_a_client_that_leaves_is_seen_while_its_stream_is_not_read(run: Run, way: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            client.write(streaming("ignore", LINES) + lines({}))
            await talker.started.wait()
            if way == "closes":
                client.write(lines("x" * 10_000) * 40)  # more than is read, and less than the kernel keeps beside it:
                await asyncio.sleep(0.5)  # an end of the connection behind that comes only when there is room again
                client.writer.close()
            else:
                await fill(client, lines("x" * 50_000))
                reset(client.writer)
            await asyncio.wait_for(talker.cancelled.wait(), LEFT)

    run(scene())


async def fill(client: RawClient, data: bytes) -> int:
    """Send until nobody takes any more; how many bytes that were."""
    sent = 0
    while True:
        client.write(data)
        sent += len(data)
        try:
            await asyncio.wait_for(client.writer.drain(), 0.5)
        except TimeoutError:
            return sent


def test_a_stream_that_nobody_takes_is_stopped_and_not_kept(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            client.write(streaming("ignore", LINES) + lines({}))
            await talker.started.wait()
            assert await fill(client, lines("x" * 50_000)) < 12_000_000  # the kernel's buffers, and a window of ours
            talker.released.set()
            assert (await asyncio.wait_for(client.response(), SOON)).body == b'"done"'

    run(scene())


def test_a_client_that_does_not_read_stops_its_handler(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            client.write(opening("flood", {"size": 100_000, "n": 400}))
            seen = -1
            while seen != talker.given:
                seen = talker.given
                await asyncio.sleep(0.5)
            assert 0 < seen < 200  # of 40 MB: the kernel's buffers, and little of ours
            response = await Streamed(client).head()
            assert len(await response.rest()) == 400 * 100_003
            assert talker.closed.is_set()

    run(scene())


def test_a_client_that_never_reads_is_dropped_at_last(run: Run) -> None:
    async def scene() -> None:
        async with (
            talking(limits=Limits(stall=0.5, sweep=0.1)) as (listener, talker),
            connected(listener.url, limit=1000) as client,
        ):
            client.write(opening("flood", {"size": 100_000, "n": 1000}))
            await asyncio.wait_for(talker.closed.wait(), SOON)
            assert talker.given < 200

    run(scene())


def test_a_handler_that_awaits_nothing_leaves_others_their_turn(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client, connected(listener.url) as other:
            response = await streamed(client, opening("flood", {"size": 1, "n": 1_000_000_000}))
            reading = asyncio.ensure_future(response.rest())
            assert (await asyncio.wait_for(other.ask(opening("say", {"words": "a"})), SOON)).body == b'"a"'
            reading.cancel()
            await asyncio.wait([reading])
            await client.close()
            await asyncio.wait_for(talker.closed.wait(), SOON)

    run(scene())


# Ending


def test_a_stream_under_way_is_finished_when_the_server_drains(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            client.write(streaming("shout", JSON_FRAMES, f"Accept: {JSON_FRAMES}") + items({}, "a"))
            response = await Streamed(client).head()
            assert await response.frame() == (ITEM, "A")
            closing = asyncio.ensure_future(listener.aclose(grace=SOON))
            await asyncio.sleep(0.1)  # the listener has told its connections
            client.write(items("b") + OVER)
            assert await response.frames() == [(ITEM, "B"), (END, {"code": 0})]
            assert await client.is_closed()
            await asyncio.wait_for(closing, SOON)

    run(scene())


def test_a_stream_that_outlasts_the_grace_is_cancelled_and_cut_off(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            response = await streamed(client, opening("pair", {}, f"Accept: {JSON_FRAMES}"))
            assert await response.frame() == (ITEM, "first")
            await listener.aclose(grace=0.1)
            assert talker.cancelled.is_set()
            with pytest.raises(CutOff):
                await response.chunk()

    run(scene())


def test_a_stream_that_has_not_begun_is_told_why_it_ends(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            client.write(streaming("ignore", LINES) + lines({}))
            await talker.started.wait()
            await listener.aclose(grace=0)
            assert talker.cancelled.is_set()
            assert (await client.response()).problem["detail"] == "the server stopped before the call was done"

    run(scene())


def test_a_stream_is_not_taken_behind_a_call_that_runs(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            first = opening("say", {"words": "a"})
            response = await client.ask(first + streaming("total", LINES) + lines({}, 1) + LAST_CHUNK)
            assert (response.body, response.headers["connection"]) == (b'"a"', "close")
            assert await client.is_closed()
            assert not talker.started.is_set()

    run(scene())


def test_calls_follow_on_a_stream_and_a_stream_on_calls(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            for _ in range(3):
                assert (await client.ask(opening("say", {"words": "a"}))).body == b'"a"'
                assert (await client.ask(streaming("total", LINES) + lines({}, 1) + LAST_CHUNK)).body == b"1"
                assert await (await streamed(client, opening("count", {"n": 1}))).rest() == b"0\n"
            client.write(streaming("total", LINES) + lines({}, 5) + LAST_CHUNK + opening("say", {"words": "b"}))
            assert [(await client.response()).body for _ in range(2)] == [b"5", b'"b"']

    run(scene())


# Clients that everybody has


def test_http_client_reads_and_sends_streams(run: Run) -> None:
    def calls(url: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SOON)
        try:
            connection.request("POST", "/talker/count", b'{"n": 3}', {"Content-Type": "application/json"})
            assert [json.loads(line) for line in connection.getresponse()] == [0, 1, 2]
            parts = iter([b"{}\n", b"1\n2\n", b"3"])
            connection.request("POST", "/talker/total", parts, {"Content-Type": LINES}, encode_chunked=True)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"6")
            connection.request("POST", "/talker/fail", b'{"n": 1}', {"Content-Type": "application/json"})
            with pytest.raises(http.client.IncompleteRead):
                connection.getresponse().read()
        finally:
            connection.close()

    async def scene() -> None:
        async with talking() as (listener, _):
            await asyncio.to_thread(calls, listener.url)

    run(scene())


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_reads_and_sends_streams(run: Run) -> None:
    async def curl(*arguments: str, sent: bytes = b"") -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            "curl", "-sSN", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        found, _ = await process.communicate(sent)
        return process.returncode, found

    async def scene() -> None:
        async with talking() as (listener, _):
            url = f"{listener.url}/talker"
            assert await curl("--json", '{"n": 3}', f"{url}/count") == (0, b"0\n1\n2\n")
            code, found = await curl("--json", '{"n": 2}', "-H", f"Accept: {EVENTS}", f"{url}/count")
            assert (code, events(found)) == (0, [("message", 0), ("message", 1)])
            sending = ("-H", f"Content-Type: {LINES}", "-X", "POST", "-T", "-")
            assert await curl(*sending, f"{url}/total", sent=b'{"scale": 2}\n1\n2\n') == (0, b"6")
            assert await curl(*sending, f"{url}/shout", sent=b'{}\n"a"\n"b"\n') == (0, b'"A"\n"B"\n')
            code, found = await curl("--json", '{"n": 1}', f"{url}/fail")
            assert (code, found.splitlines()[0]) == (18, b"0")  # curl's "the end of the transfer is missing"

    run(scene())


# Behind another server


def mounted(kind: str, talker: Talker) -> tuple[Any, str]:
    ours = application(talker)
    if kind == "alone":
        return ours, "/talker"
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)] if kind == "middleware" else []
    return Starlette(routes=[Mount("/models/v1", ours)], middleware=middleware), "/models/v1/talker"


KINDS = ["alone", "starlette", "middleware"]


@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_answered_wherever_it_is_mounted(run: Run, kind: str) -> None:
    async def scene() -> None:
        app, prefix = mounted(kind, Talker())
        async with hosted(app) as url, connected(url) as client:
            response = await streamed(client, opening("count", {"n": 3}, prefix=prefix))
            assert await response.rest() == b"0\n1\n2\n"
            client.write(streaming("total", LINES, prefix=prefix) + lines({}, 1) + lines(2) + LAST_CHUNK)
            assert (await client.response()).body == b"3"
            client.write(streaming("shout", JSON_FRAMES, f"Accept: {JSON_FRAMES}", prefix=prefix) + items({}, "a"))
            response = await Streamed(client).head()
            assert await response.frame() == (ITEM, "A")
            client.write(items("b"))
            assert await asyncio.wait_for(response.frame(), SOON) == (ITEM, "B")
            client.write(OVER)
            assert await response.frames() == [(END, {"code": 0})]
            refused = await client.ask(streaming("total", "application/json", prefix=prefix) + chunk(b"{}"))
            assert (refused.status, refused.headers["connection"]) == (415, "close")

    run(scene())


@pytest.mark.parametrize("kind", ["alone", "starlette"])  # Starlette's BaseHTTPMiddleware ends every body well
def test_a_stream_that_failed_is_not_whole_wherever_it_is_mounted(run: Run, kind: str) -> None:
    async def scene() -> None:
        app, prefix = mounted(kind, Talker())
        async with hosted(app) as url, connected(url) as client:
            response = await streamed(client, opening("fail", {"n": 1}, prefix=prefix))
            assert await response.chunk() == b"0\n"
            assert json.loads(await response.chunk() or b"")["error"]["code"] == Code.NOT_FOUND
            with pytest.raises(CutOff):
                await response.chunk()

    run(scene())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endpoint", ["pair", "shout", "ignore"])
def test_a_client_that_leaves_cancels_its_stream_behind_another_server(run: Run, kind: str, endpoint: str) -> None:
    async def scene() -> None:
        talker = Talker()
        app, prefix = mounted(kind, talker)
        async with hosted(app) as url:
            async with connected(url) as client:
                client.write(
                    opening("pair", prefix=prefix)
                    if endpoint == "pair"
                    else streaming(endpoint, LINES, prefix=prefix) + lines({}, "a", "b")
                )
                await talker.started.wait()
            await asyncio.wait_for(talker.cancelled.wait(), 0.5)

    run(scene())
