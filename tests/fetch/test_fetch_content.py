"""What is fetched from a server on loopback, which a policy allows: whole or in part, right or refused."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from fetch_origin import Act, answer, serving
from fetch_scenes import refusal, scene, whole
from hypothesis import example, given
from hypothesis import strategies as st

from xooai import fetch
from xooai.errors import (
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    XooaiError,
)
from xooai.fetch import Probe

pytest.importorskip("h11")

CONTENT = bytes(range(256)) * 1024
DIGITS = b"0123456789"


def part(content: bytes, told: str, **more: Any) -> bytes:
    return answer(content, f"Content-Range: {told}", status="206 Partial Content", **more)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end
    return answer(b"", "Transfer-Encoding: chunked", length=None) + body


# All of a content


@scene
async def test_a_content_comes_with_what_its_server_tells() -> None:
    told = ("Content-Type: Image/PNG; charset=x", 'ETag: W/"1"', "Set-Cookie: a=b")
    async with serving(answer(CONTENT, *told)) as origin, await fetch.open(origin.url(), origin.policy()) as fetched:
        assert (fetched.size, fetched.media_type, fetched.etag) == (len(CONTENT), "image/png", 'W/"1"')
        assert fetched.url == origin.url()
        chunks = [chunk async for chunk in fetched]
        assert await fetched.read() == b""

    assert b"".join(chunks) == CONTENT
    assert all(0 < len(chunk) <= 64 * 1024 for chunk in chunks)


@scene
async def test_a_server_is_told_the_host_and_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(DIGITS)) as origin, serving(answer(b"by a proxy")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url("/"))
        assert await whole(origin.url("/a?b=c#d"), origin.policy()) == DIGITS

        assert proxy.heads == []
        lines = origin.heads[0].splitlines()
    assert lines[0] == "GET /a?b=c HTTP/1.1"
    assert sorted(lines[1:-1]) == sorted(
        [
            f"Host: 127.0.0.1:{origin.port}",
            "User-Agent: xooai",
            "Accept: */*",
            "Accept-Encoding: identity",
            "Connection: close",
        ]
    )


@scene
async def test_a_content_in_chunks_is_put_together() -> None:
    async with serving(chunked(DIGITS, CONTENT)) as origin, await fetch.open(origin.url(), origin.policy()) as fetched:
        assert fetched.size is None
        assert b"".join([chunk async for chunk in fetched]) == DIGITS + CONTENT


@scene
async def test_an_empty_content_is_one() -> None:
    async with serving(answer()) as origin:
        assert await whole(origin.url(), origin.policy()) == b""


@scene
async def test_what_comes_before_the_answer_is_passed_over() -> None:
    async with serving(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + answer(DIGITS)) as origin:
        assert await whole(origin.url(), origin.policy()) == DIGITS


@pytest.mark.parametrize(
    "fields", ["Content-Type: a/b\r\nContent-Type: c/d", "Content-Type: nonsense", 'ETag: "\xe4"', "ETag: 1"]
)
@scene
async def test_what_is_not_told_rightly_is_not_told(fields: str) -> None:
    told = fields.split("\r\n")
    async with serving(answer(DIGITS, *told)) as origin, await fetch.open(origin.url(), origin.policy()) as fetched:
        assert (fetched.media_type, fetched.etag) == (None, None)


# A part of it


@pytest.mark.parametrize(
    ("start", "end", "told", "size"),
    [
        (2, 5, "bytes 2-4/10", 10),
        (2, 5, "bytes 2-4/*", None),
        (2, None, "bytes 2-9/10", 10),
        (0, 1, "bytes 0-0/10", 10),
        (8, 20, "bytes 8-9/10", 10),
    ],
)
@scene
async def test_a_part_is_asked_for_and_given(start: int, end: int | None, told: str, size: int | None) -> None:
    async with serving(part(DIGITS[start:end], told)) as origin:
        async with await fetch.open(origin.url(), origin.policy(), start, end) as fetched:
            assert (fetched.size, fetched.is_range) == (size, True)
            assert b"".join([chunk async for chunk in fetched]) == DIGITS[start:end]

        assert f"Range: bytes={start}-{'' if end is None else end - 1}\r\n" in origin.heads[0]


@pytest.mark.parametrize(("start", "end"), [(0, 4), (3, 7), (3, None), (9, 30), (10, None), (40, 50), (4, 4), (0, 0)])
@pytest.mark.parametrize("given", [answer(DIGITS), chunked(b"01", b"2345", b"6789")], ids=["length", "chunks"])
@scene
async def test_a_server_without_parts_still_gives_just_the_part(given: bytes, start: int, end: int | None) -> None:
    async with serving(given) as origin, await fetch.open(origin.url(), origin.policy(), start, end) as fetched:
        assert not fetched.is_range
        assert b"".join([chunk async for chunk in fetched]) == DIGITS[start:end]


@scene
async def test_beyond_the_end_there_is_nothing() -> None:
    beyond = answer(b"no", "Content-Range: bytes */10", status="416 Range Not Satisfiable")
    async with serving(beyond) as origin, await fetch.open(origin.url(), origin.policy(), 10, 20) as fetched:
        assert fetched.size == 10
        assert await fetched.read() == b""


@pytest.mark.parametrize(
    "lie",
    [
        part(b"345", "bytes 3-5/10"),
        part(b"34", "bytes 3-5/10"),
        part(b"2345", "bytes 1-4/10"),
        part(b"012", "bytes 0-2/10"),
        part(b"23", "bytes 2-3/10"),
        part(b"2345", "bytes 2-5/10"),
        part(b"234", "bytes 2-4/4"),
        part(b"234", "bytes 2-4/3"),
        part(b"2345", "bytes 2-4/10"),
        part(b"234", "items 2-4/10"),
        part(b"234", "bytes 2-4"),
        part(b"234", "bytes 2-4/10\r\nContent-Range: bytes 0-1/10"),
        answer(b"234", status="206 Partial Content"),
        answer(b"--x\r\n", "Content-Type: multipart/byteranges; boundary=x", status="206 Partial Content"),
        answer(b"", "Content-Range: bytes */10", status="416 No"),
        answer(b"", status="416 No"),
    ],
)
@scene
async def test_a_part_that_is_not_the_one_asked_for_is_refused(lie: bytes) -> None:
    async with serving(lie) as origin:
        await refusal(DataLoss, whole(origin.url(), origin.policy(), 2, 5))


@scene
async def test_a_part_in_chunks_that_ends_early_is_refused() -> None:
    head = answer(b"", "Content-Range: bytes 2-4/10", "Transfer-Encoding: chunked", status="206 Part", length=None)
    async with serving(head + b"2\r\n23\r\n0\r\n\r\n") as origin:
        await refusal(DataLoss, whole(origin.url(), origin.policy(), 2, 5))


@scene
async def test_a_part_that_nobody_asked_for_is_refused() -> None:
    async with serving(part(b"234", "bytes 2-4/10")) as origin:
        await refusal(Unavailable, whole(origin.url(), origin.policy()))


@scene
async def test_what_is_no_range_is_refused_before_anything_is_asked() -> None:
    async with serving(answer(DIGITS)) as origin:
        await refusal(InvalidArgument, whole(origin.url(), origin.policy(), 3, 2))
        assert origin.heads == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (part(b"0", "bytes 0-0/10"), Probe(10, True, None, None)),
        (answer(DIGITS, "Content-Type: audio/wav", 'ETag: "1"'), Probe(10, False, "audio/wav", '"1"')),
        (chunked(DIGITS), Probe(None, False, None, None)),
        (answer(b"", "Content-Range: bytes */0", status="416 No"), Probe(0, True, None, None)),
        (part(b"0", f"bytes 0-0/{1 << 50}"), Probe(1 << 50, True, None, None)),
        (answer(b"0", length=1 << 50), Probe(1 << 50, False, None, None)),
    ],
)
@scene
async def test_a_probe_tells_of_a_content_of_any_size(given: bytes, expected: Probe) -> None:
    async with serving(given) as origin:
        assert await fetch.probe(origin.url(), origin.policy()) == expected


# What is refused


@pytest.mark.parametrize("given", [answer(DIGITS), chunked(b"01234", b"56789")], ids=["length", "chunks"])
@scene
async def test_a_content_may_have_the_limit_and_not_a_byte_more(given: bytes) -> None:
    async with serving(given) as origin:
        assert await whole(origin.url(), origin.policy(limit=10)) == DIGITS
        assert await whole(origin.url(), origin.policy(limit=4), 0, 4) == DIGITS[:4]
        with pytest.raises(ResourceExhausted) as refused:
            await whole(origin.url(), origin.policy(limit=9))
        assert refused.value.reason == "size"
        await refusal(ResourceExhausted, whole(origin.url(), origin.policy(limit=4), 1, 5))  # with what is dropped


@scene
async def test_an_announced_size_beyond_the_limit_is_refused_before_a_byte_is_read() -> None:
    async with serving(answer(b"", length=1 << 40)) as origin:
        assert "1,099,511,627,776" in await refusal(ResourceExhausted, fetch.open(origin.url(), origin.policy()))


@pytest.mark.parametrize(
    "given",
    [
        answer(DIGITS, length=11),
        chunked(DIGITS, end=b""),
        chunked(DIGITS, end=b"5\r\n012"),
        chunked(DIGITS, end=b"nonsense\r\n"),
        chunked(DIGITS, end=b"0\r\n"),
    ],
)
@scene
async def test_a_content_that_is_not_whole_never_ends_well(given: bytes) -> None:
    async with serving(given) as origin:
        assert "after 1" in await refusal(DataLoss, whole(origin.url(), origin.policy()))


@scene
async def test_more_than_is_announced_is_not_read() -> None:
    async with serving(answer(DIGITS + b"more", length=10)) as origin:
        assert await whole(origin.url(), origin.policy()) == DIGITS


@scene
async def test_a_content_whose_end_nobody_tells_is_refused() -> None:
    async with serving(answer(DIGITS, length=None)) as origin:
        assert "where the content ends" in await refusal(DataLoss, whole(origin.url(), origin.policy()))


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/2 200\r\n\r\n",
        answer(DIGITS, *(f"A{number}: b" for number in range(101))),
        answer(DIGITS, f"A: {'b' * 50_000}"),
        b"HTTP/1.1 103 Early Hints\r\nA: bcdefghijklmnop\r\n\r\n" * 2000 + answer(DIGITS),
    ],
)
@scene
async def test_what_is_no_right_answer_is_unavailable(given: bytes) -> None:
    async with serving(given) as origin:
        await refusal(Unavailable, whole(origin.url(), origin.policy()))


@pytest.mark.parametrize(
    "encoding", ["gzip", "br", "deflate", "zstd", "x-gzip", "identity, gzip", "gzip\r\nContent-Encoding: identity"]
)
@scene
async def test_an_encoded_content_is_refused(encoding: str) -> None:
    async with serving(answer(DIGITS, f"Content-Encoding: {encoding}")) as origin:
        assert "encodes" in await refusal(Unavailable, whole(origin.url(), origin.policy()))


@scene
async def test_a_content_that_is_encoded_as_nothing_is_read() -> None:
    async with serving(answer(DIGITS, "Content-Encoding: Identity")) as origin:
        assert await whole(origin.url(), origin.policy()) == DIGITS


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("404 Not Found", NotFound),
        ("410 Gone", NotFound),
        ("401 Unauthorized", PermissionDenied),
        ("403 Forbidden", PermissionDenied),
        ("407 Proxy Authentication Required", PermissionDenied),
        ("204 No Content", Unavailable),
        ("300 Multiple Choices", Unavailable),
        ("304 Not Modified", Unavailable),
        ("429 Too Many Requests", Unavailable),
        ("500 Internal Server Error", Unavailable),
        ("599 ", Unavailable),
    ],
)
@scene
async def test_a_status_is_told_as_an_error(status: str, kind: type[XooaiError]) -> None:
    async with serving(answer(b"of the server", status=status, length=None if status[0] in "23" else -1)) as origin:
        message = await refusal(kind, whole(origin.url("/a?secret=1"), origin.policy()))

    assert "secret" not in message
    assert "of the server" not in message


@scene
async def test_a_server_that_frames_more_than_it_says_is_left() -> None:
    async with serving(chunked(*[b"x"] * 60_000)) as origin:
        assert "framing" in await refusal(Unavailable, whole(origin.url(), origin.policy()))


@scene
async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with serving(answer()) as origin:
        pass
    policy = origin.policy(hosts={"localhost"}, networks={"127.0.0.0/8", "::1/128"})
    message = await refusal(Unavailable, whole(origin.url(host="localhost"), policy))

    assert "127.0.0.1" not in message


@given(st.integers(0, 200), st.binary(max_size=4), st.booleans())
@example(0, b"", False)
@example(17, b"\r\n", True)
def test_whatever_a_server_says_ends_with_bytes_or_an_error_of_ours(place: int, by: bytes, is_chunked: bool) -> None:
    @scene
    async def said() -> None:
        right = chunked(DIGITS, DIGITS) if is_chunked else answer(DIGITS, "Content-Type: a/b", 'ETag: "1"')
        async with serving(right[:place] + by + right[place + len(by) :]) as origin:
            try:
                await whole(origin.url(), origin.policy())
            except XooaiError:
                pass

    said()


@scene
async def test_a_connection_that_is_reset_is_unavailable_after_what_came() -> None:
    has_read = asyncio.Event()

    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(DIGITS, length=11))
        await has_read.wait()
        linger = struct.pack("ii", 1, 0)  # so that closing resets
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with serving(act) as origin, await fetch.open(origin.url(), origin.policy()) as fetched:
        assert await fetched.chunk() == DIGITS
        has_read.set()
        assert "after 10 bytes" in await refusal(Unavailable, fetched.chunk())


@scene
async def test_the_rest_of_what_nobody_tells_the_size_of_is_refused() -> None:
    async with serving(part(DIGITS[2:], "bytes 2-9/*")) as origin:
        await refusal(DataLoss, whole(origin.url(), origin.policy(), 2))


# Time, and leaving


def slowly(*pieces: bytes) -> Act:
    """Say these, then a byte of the last one at a time until the client is gone."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces))
        while not reader.at_eof():
            writer.write(pieces[-1][:1])
            await writer.drain()
            try:
                await asyncio.wait_for(reader.read(1), 0.02)
            except TimeoutError:
                pass

    return act


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("act", [silent, slowly(b"HTTP/1.1 200 OK\r\nA: b")], ids=["silent", "trickling"])
@scene
async def test_a_server_that_does_not_answer_in_time_is_left(act: Act) -> None:
    async with serving(act) as origin:
        await refusal(DeadlineExceeded, fetch.open(origin.url(), origin.policy(first_byte=0.2)))


@scene
async def test_a_server_that_does_not_go_on_with_tls_is_left_at_once() -> None:
    left = asyncio.Event()
    async with serving(noticing(left, b"", asyncio.Event()), is_first=True) as origin:
        await refusal(DeadlineExceeded, fetch.open(origin.url(scheme="https"), origin.policy(first_byte=0.2)))
        await left.wait()


@scene
async def test_a_content_that_trickles_is_left_when_its_time_is_over() -> None:
    async with serving(slowly(answer(b"x", length=1 << 20))) as origin:
        assert "not fetched in time" in await refusal(DeadlineExceeded, whole(origin.url(), origin.policy(timeout=0.3)))


def noticing(left: asyncio.Event, said: bytes, asked: asyncio.Event) -> Act:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        asked.set()
        try:
            await reader.read()
        except OSError:
            pass
        left.set()

    return act


@pytest.mark.parametrize("said", [b"", answer(DIGITS, length=1 << 20)], ids=["head", "content"])
@scene
async def test_a_reader_that_is_cancelled_closes_its_connection_at_once(said: bytes) -> None:
    left, asked = asyncio.Event(), asyncio.Event()
    async with serving(noticing(left, said, asked)) as origin:
        reading = asyncio.create_task(whole(origin.url(), origin.policy()))
        await asked.wait()
        reading.cancel()
        await left.wait()
        assert (await asyncio.gather(reading, return_exceptions=True))[0].__class__ is asyncio.CancelledError


@scene
async def test_a_reader_that_leaves_closes_its_connection_at_once() -> None:
    left = asyncio.Event()
    async with serving(noticing(left, answer(DIGITS, length=1 << 20), asyncio.Event())) as origin:
        async with await fetch.open(origin.url(), origin.policy()) as fetched:
            assert await fetched.chunk() == DIGITS
        await left.wait()
        assert await fetched.read() == b""


@scene
async def test_a_reader_that_waits_makes_its_server_wait() -> None:
    size = 60 * 1024 * 1024
    written, is_stuck = 0, asyncio.Event()

    async def act(__: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(answer(length=size))
        for _ in range(size // 65536):
            asyncio.get_running_loop().call_later(1, is_stuck.set) if not written else None
            writer.write(bytes(65536))
            await writer.drain()
            written += 65536

    async with serving(act) as origin, await fetch.open(origin.url(), origin.policy()) as fetched:
        await is_stuck.wait()
        assert written < 30 * 1024 * 1024  # what the system's buffers take
        assert sum([len(chunk) async for chunk in fetched]) == size
