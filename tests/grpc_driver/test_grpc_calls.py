"""Calls over gRPC, of all shapes: what arrives, and how they end."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from grpc_site import JSON, MSGPACK, SOON, Run, call, head, linked, listening, rest, serving

from xooai.driver import DialOptions, Outcome, Shape
from xooai.errors import (
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    XooaiError,
)
from xooai_grpc.driver import GrpcDriver
from xooai_grpc.metadata import ENTRY, METADATA_SIZE

STREAMS = [Shape.CLIENT, Shape.SERVER, Shape.BIDI]
TO_SERVER = [Shape.CLIENT, Shape.BIDI]

# What arrives.


@pytest.mark.parametrize("body", [b"{}", b"", b"x", bytes(1_000_000)], ids=len)
def test_a_unary_call_is_answered(run: Run, body: bytes) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            reply, outcome = await call(link, "say", body)
            assert reply == body
            assert (outcome.code, outcome.codec) == (Code.OK, JSON)

    run(scene())


def test_what_a_head_says_arrives(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            given = {"X-Tenant": "blue", "x-b": " a b "}
            await call(link, codec=MSGPACK, accept=JSON, timeout=10, metadata=given)
            found = site.heads[0]
            assert (found.path, found.codec, found.accept, found.shape) == ("/echo/say", MSGPACK, JSON, Shape.UNARY)
            assert found.timeout is not None
            assert 9 < found.timeout < 10.2  # gRPC rounds up, to two digits or so
            assert found.metadata["x-tenant"] == "blue"
            assert set(found.metadata) == {"user-agent", "x-tenant", "x-b"}
            assert found.peer.startswith("127.0.0.1:")
            assert "blue" not in repr(found.metadata)

    run(scene())


def test_a_call_without_a_timeout_arrives_without_one(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            await call(link)
            assert site.heads[0].timeout is None

    run(scene())


@pytest.mark.parametrize("codec", [JSON, MSGPACK, "image/png"])
def test_a_codec_arrives_and_comes_back(run: Run, codec: str) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            _, outcome = await call(link, codec=codec)
            assert site.heads[0].codec == outcome.codec == codec

    run(scene())


def test_a_reply_in_another_codec_and_its_metadata_are_told(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            said = {"codec": "text/plain", "metadata": {"X-Model": "v3"}}
            reply, outcome = await call(link, "succeed", json.dumps(said).encode())
            assert (reply, outcome.codec, dict(outcome.metadata)) == (b"ok", "text/plain", {"x-model": "v3"})

    run(scene())


def test_a_path_may_have_any_letters(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            for path in ("/straße/lesen", "/a b/c%d"):
                given = head("say")
                given.path = path
                with pytest.raises(NotFound):
                    await (await link.open(given, b"{}")).receive()
                assert site.heads[-1].path == path

    run(scene())


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_a_stream_in_both_directions_is_answered_frame_by_frame(run: Run, codec: str) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            channel = await link.open(head("each", Shape.BIDI, codec=codec, timeout=SOON))
            for frame in (b"a", b"", bytes(300_000)):
                await channel.send(frame)
                assert await channel.receive() == frame
            await channel.end(b"last")
            assert await channel.receive() == b"last"
            assert channel.outcome is None
            assert await channel.receive() is None
            assert channel.outcome is not None
            assert channel.outcome.codec == codec
            assert await channel.receive() is None
            assert site.heads[0].shape is Shape.BIDI
            assert site.heads[0].codec == codec

    run(scene())


def test_a_streamed_request_is_answered_once(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            channel = await link.open(head("count", Shape.CLIENT))
            for size in range(100):
                await channel.send(bytes(size))
            await channel.end()
            await channel.end()
            assert await channel.receive() == b"100 4950"
            assert channel.outcome == Outcome(codec=JSON)
            assert await channel.receive() is None
            assert site.heads[0].shape is Shape.CLIENT

    run(scene())


@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_reply_is_streamed(run: Run, count: int) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            channel = await link.open(head("tell", Shape.SERVER), b"%d 0" % count)
            assert await rest(channel) == [b"%d" % number for number in range(count)]
            assert channel.outcome == Outcome(codec=JSON)
            assert site.heads[0].shape is Shape.SERVER

    run(scene())


def test_a_server_may_speak_first(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            channel = await link.open(head("greet", Shape.BIDI))
            await channel.send(b"first")  # the core's, with the other parameters
            assert await channel.receive() == b"hello"
            await channel.send(b"abc")
            await channel.end()
            assert await rest(channel) == [b"1 3"]

    run(scene())


def test_opening_a_stream_does_not_wait_for_the_server(run: Run) -> None:
    async def scene() -> None:
        async with linked("grpc://127.0.0.1:1") as link:
            channel = await link.open(head("each", Shape.BIDI))
            with pytest.raises(Unavailable, match="cannot connect"):
                await channel.receive()

    run(scene())


def test_many_small_items_come_in_order(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            channel = await link.open(head("tell", Shape.SERVER), b"5000 0")
            assert await rest(channel) == [b"%d" % number for number in range(5000)]

    run(scene())


def test_calls_side_by_side_share_a_link(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site):

            async def converse(number: int) -> None:
                channel = await link.open(head("each", Shape.BIDI))
                for turn in range(5):
                    await channel.send(b"%d %d" % (number, turn))
                    assert await channel.receive() == b"%d %d" % (number, turn)
                await channel.end()
                assert await channel.receive() is None

            await asyncio.gather(*(converse(number) for number in range(50)), *(call(link) for _ in range(50)))
            assert len({found.peer for found in site.heads}) == 1

    run(scene())


# What is refused before it is sent.


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"codec": "text/plain\r\nx: 1"}, "the codec is not printable"),
        ({"accept": "text/plain\nx: 1"}, "the accepted codec is not printable"),
        ({"metadata": {"x-a": "1\r\nx: 1"}}, "'x-a' is not printable"),
        ({"metadata": {"x-a": "ä"}}, "'x-a' is not printable"),
        ({"metadata": {"x a": "1"}}, "'x a' is not made of letters"),
        ({"metadata": {"": "1"}}, "'' is not made of letters"),
        ({"metadata": {"grpc-timeout": "1S"}}, "'grpc-timeout' is a name that gRPC"),
        ({"metadata": {":path": "/"}}, "':path' is a name that gRPC"),
        ({"metadata": {"token-bin": "x"}}, "'token-bin' is a name that gRPC"),
        ({"metadata": {"Xooai-Shape": "bidi"}}, "'Xooai-Shape' is a name that gRPC"),
        ({"metadata": {"x-a": "y" * (METADATA_SIZE - ENTRY - 2)}}, "more than 30,720 bytes"),
        ({"metadata": {f"x-{n}": "" for n in range(1000)}}, "32 for each entry among them"),
    ],
    ids=repr,
)
def test_what_would_break_a_call_is_refused_before_anything_is_sent(run: Run, more: dict[str, Any], said: str) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            with pytest.raises(InvalidArgument, match=said):
                await link.open(head("say", **more), b"{}")
            assert site.heads == []

    run(scene())


def test_a_path_that_is_none_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            given = head("say")
            given.path = "echo/say"
            with pytest.raises(InvalidArgument, match="'echo/say'; it takes /executor/endpoint"):
                await link.open(given, b"{}")

    run(scene())


def test_a_frame_more_than_the_shape_has_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            for shape in Shape:
                with pytest.raises(FailedPrecondition, match="one frame of the request"):
                    await link.open(head("say", shape), b"{}" if shape & Shape.CLIENT else None)
            for shape in (Shape.UNARY, Shape.SERVER):
                channel = await link.open(head("tell" if shape else "say", shape), b"1 0")
                for ending in (channel.send, channel.end):
                    with pytest.raises(FailedPrecondition, match="no (second|further) frame"):
                        await ending(b"more")
                await channel.end()
                await channel.receive()
            channel = await link.open(head("count", Shape.CLIENT))
            await channel.end()
            with pytest.raises(FailedPrecondition, match="no further frame"):
                await channel.send(b"more")

    run(scene())


# How a call fails.


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_an_error_arrives_with_all_that_it_says(run: Run, code: Code) -> None:
    said = {"code": code, "message": "nö, 100 %\n", "details": {"reason": "size", "x": [1, None]}, "id": "7f-1"}

    async def scene() -> None:
        async with serving() as (link, _):
            for shape in (Shape.UNARY, Shape.SERVER):
                channel = await link.open(head("fail", shape), json.dumps(said).encode())
                with pytest.raises(XooaiError) as raised:
                    await channel.receive()
                error = raised.value
                assert (error.message, error.details, error.id) == (said["message"], said["details"], said["id"])
                assert error.remote
                assert channel.outcome is not None
                assert channel.outcome.code == code
                with pytest.raises(type(error)):
                    await channel.receive()

    run(scene())


def test_an_error_brings_the_metadata_beside_it(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            said = {"code": 9, "message": "m", "metadata": {"x-quota": "3"}}
            channel = await link.open(head("fail"), json.dumps(said).encode())
            with pytest.raises(FailedPrecondition):
                await channel.receive()
            assert channel.outcome is not None
            assert channel.outcome.metadata["x-quota"] == "3"

    run(scene())


def test_a_large_error_loses_its_last_mistakes_and_what_is_long(run: Run) -> None:
    """Trailers have a limit at every peer: what does not fit must not take the error with it."""

    async def scene(details: dict[str, Any]) -> XooaiError:
        async with serving() as (link, _):
            said = {"code": 3, "message": "m" * 100_000, "details": details}
            with pytest.raises(InvalidArgument) as raised:
                await call(link, "fail", json.dumps(said).encode())
            return raised.value

    mistakes = [{"type": "missing", "loc": ["a", number], "msg": "Field required"} for number in range(2000)]
    error = run(scene({"errors": mistakes}))
    assert 4000 < len(error.message) < 5000
    assert error.details["errors"] == mistakes[: len(error.details["errors"])]
    assert len(error.details["errors"]) > 100
    error = run(scene({"long": "x" * 100_000, "retry_after": 3, "why": "load"}))
    assert error.details == {"retry_after": 3, "why": "load"}
    error = run(scene({f"key{number}": number for number in range(10_000)}))
    assert error.details == {}


def test_an_error_after_the_first_items_comes_after_them(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            channel = await link.open(head("tell_and_fail", Shape.SERVER), b"100")
            await site.has_heads(1)
            await asyncio.sleep(0.1)  # by now all has arrived: what was not read must not be dropped
            assert [await channel.receive() for _ in range(100)] == [b"%d" % number for number in range(100)]
            with pytest.raises(NotFound, match="no more") as raised:
                await channel.receive()
            assert raised.value.details == {"after": 100}

    run(scene())


@pytest.mark.parametrize("endpoint", ["forget", "crash", "twice", "stream"])
def test_a_site_that_breaks_the_rules_leaks_nothing(run: Run, endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever an error says, the client learns none of it."""

    async def scene() -> None:
        async with serving() as (link, _):
            if endpoint == "twice":  # the first end counts
                assert (await call(link, endpoint, b"secret"))[0] == b"secret"
                return
            with pytest.raises(Internal) as raised:
                await call(link, endpoint, b"secret")
            assert raised.value.message == "the server ended the call without an answer"

    with caplog.at_level(logging.ERROR, "xooai.grpc"):
        run(scene())
    assert caplog.records


def test_metadata_that_cannot_be_written_is_refused_where_it_is_given(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            with pytest.raises(Internal):
                await call(link, "succeed", json.dumps({"metadata": {"x-a": "a\nb"}}).encode())

    run(scene())


@pytest.mark.parametrize("shape", TO_SERVER)
def test_an_early_answer_is_an_answer(run: Run, shape: Shape) -> None:
    """What the client still sends is discarded."""

    async def scene() -> None:
        async with serving() as (link, _):
            for pause in (0.0, 0.0001):
                channel = await link.open(head("early", shape))
                for _ in range(200):
                    await channel.send(b"x" * 1000)
                    await asyncio.sleep(pause)
                await channel.end()
                assert await rest(channel) == [b"x" * 1000]
                assert channel.outcome == Outcome(codec=JSON)

    run(scene())


@pytest.mark.parametrize("shape", TO_SERVER)
def test_an_early_error_is_raised_while_sending(run: Run, shape: Shape) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            for pause in (0.0, 0.0001):
                channel = await link.open(head("refuse", shape))

                async def push(channel: Any = channel, pause: float = pause) -> None:
                    while True:
                        await channel.send(b"x" * 1000)
                        await asyncio.sleep(pause)

                for sending in (push, channel.receive):
                    with pytest.raises(FailedPrecondition, match="not now"):
                        await asyncio.wait_for(sending(), SOON)

    run(scene())


# Time.


@pytest.mark.parametrize("shape", list(Shape))
def test_a_call_ends_with_its_time_on_both_sides(run: Run, shape: Shape) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            channel = await link.open(head("wait", shape, timeout=0.3), None if shape & Shape.CLIENT else b"{}")
            if shape & Shape.CLIENT:
                await channel.send(b"{}")
                await channel.end()
            with pytest.raises(DeadlineExceeded, match=r"no answer from 127\.0\.0\.1:\d+ within 0\.3 s") as raised:
                await channel.receive()
            assert not raised.value.remote
            await asyncio.wait_for(site.cancelled.wait(), 0.5)

    run(scene())


def test_a_call_without_time_left_is_not_sent(run: Run) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            with pytest.raises(DeadlineExceeded, match="no time is left"):
                await link.open(head("say", timeout=0), b"{}")
            assert site.heads == []

    run(scene())


# Leaving.


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("how", ["abort", "cancel", "close"])
def test_a_client_that_leaves_cancels_its_handler(run: Run, shape: Shape, how: str) -> None:

    async def scene() -> None:
        async with serving() as (link, site):
            channel = await link.open(head("wait", shape), None if shape & Shape.CLIENT else b"{}")
            if shape & Shape.CLIENT:
                await channel.send(b"{}")
                await channel.end()
            waiting = asyncio.create_task(channel.receive())
            await asyncio.sleep(0)  # a task that has not begun leaves nothing
            await site.started.wait()
            if how == "abort":
                channel.abort()
                channel.abort()
            elif how == "cancel":
                waiting.cancel()
                await asyncio.wait([waiting])
                if shape:  # a stream may be waited for again, until it is given up
                    channel.abort()
            else:
                await link.aclose()
            await asyncio.wait_for(site.cancelled.wait(), 0.5)
            said = {"abort": "was given up", "close": "has been closed"}.get(how)
            with pytest.raises(asyncio.CancelledError if how == "cancel" else Unavailable, match=said):
                await waiting

    run(scene())


@pytest.mark.parametrize("shape", [Shape.SERVER, Shape.BIDI])
def test_a_receiver_that_was_cancelled_may_come_again(run: Run, shape: Shape) -> None:
    async def scene() -> None:
        async with serving() as (link, site):
            channel = await link.open(head("wait", shape), None if shape & Shape.CLIENT else b"{}")
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(channel.receive(), 0.02)
            if shape & Shape.CLIENT:
                await channel.end(b"{}")
            site.released.set()
            assert await rest(channel) == [b"{}"]

    run(scene())


@pytest.mark.parametrize("shape", TO_SERVER)
@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_stream_that_is_cut_off_is_never_a_short_one(run: Run, shape: Shape, how: str) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):

            async def cut(number: int) -> None:
                async with linked(listener.url) as link:
                    channel = await link.open(head("greet" if shape & Shape.SERVER else "count", shape))
                    for _ in range(1 + number % 4):
                        await channel.send(b"x")
                    if shape & Shape.SERVER:
                        assert await channel.receive() == b"hello"
                    if how == "abort":
                        channel.abort()

            for _ in range(3):
                await asyncio.gather(*(cut(number) for number in range(20)))
            await site.has_heads(60)
            assert not site.has_all.is_set()

    run(scene())


@pytest.mark.parametrize("shape", list(Shape))
def test_a_call_that_the_server_aborts_is_an_error(run: Run, shape: Shape) -> None:
    async def scene() -> None:
        async with serving() as (link, _):
            channel = await link.open(head("abort", shape), None if shape & Shape.CLIENT else b"{}")
            if shape & Shape.CLIENT:
                await channel.end(b"{}")
            with pytest.raises(Unavailable, match="the server gave the call up"):
                await channel.receive()

    run(scene())


@pytest.mark.parametrize("shape", STREAMS)
def test_a_slow_side_holds_the_other_back(run: Run, shape: Shape) -> None:
    """No more is on its way than the windows hold: here some megabytes of a hundred."""

    async def scene() -> None:
        async with serving() as (link, site):
            if shape is Shape.SERVER:
                channel = await link.open(head("tell", shape), b"1000 100000")
            else:
                channel = await link.open(head("wait" if shape is Shape.CLIENT else "each", shape))
            sent = 0

            async def push() -> None:
                nonlocal sent
                while True:
                    await channel.send(bytes(100_000))
                    sent += 1

            pushing = asyncio.create_task(push()) if shape & Shape.CLIENT else None
            await site.has_heads(1)
            before = -1
            while before != sent + site.frames:
                before = sent + site.frames
                await asyncio.sleep(0.2)
            assert 0 < before < 300
            if pushing is not None:
                pushing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await pushing
            channel.abort()

    run(scene())


# The link.


def test_a_server_that_is_not_there_is_named_at_once(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            url = listener.url
        async with linked(url) as link:
            started = asyncio.get_running_loop().time()
            for _ in range(3):
                with pytest.raises(Unavailable, match=f"cannot connect to {url[7:]}: .*refused") as raised:
                    await call(link, timeout=60)
                assert not raised.value.remote
            assert asyncio.get_running_loop().time() - started < 2
            async with listening(url):  # and is called as soon as it is
                assert (await call(link, timeout=60))[0] == b"{}"

    run(scene())


def test_a_name_that_nobody_knows_is_told(run: Run) -> None:
    async def scene() -> None:
        async with linked("grpc://no-such-host.invalid:1") as link:
            with pytest.raises(Unavailable, match=r"cannot connect to no-such-host\.invalid:1"):
                await call(link, timeout=60)

    run(scene())


def test_a_server_that_comes_back_is_called_again(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (first, _), linked(first.url) as link:
            await call(link)
            await first.aclose()
            async with listening(first.url):
                assert (await call(link, timeout=SOON))[0] == b"{}"

    run(scene())


def test_a_closed_link_is_closed(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            link = await GrpcDriver().dial(listener.url, DialOptions())
            await call(link)
            for _ in range(2):
                await link.aclose()
                with pytest.raises(Unavailable, match="has been closed"):
                    await link.open(head("say"), b"{}")

    run(scene())


def test_a_link_belongs_to_its_loop(run: Run) -> None:
    async def other(link: Any) -> None:
        with pytest.raises(FailedPrecondition, match="another event loop"):
            await link.open(head("say"), b"{}")

    async def scene() -> None:
        async with serving() as (link, _):
            await call(link)
            await asyncio.to_thread(asyncio.run, other(link))

    run(scene())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("grpc://host", "has no port"),
        ("grpc://host:0", "port 0"),
        ("grpc://host:1/x", "more than scheme://host:port"),
        ("grpc://me:secret@host:1", "user name or password"),
        ("grpc://:1", "names no host"),
        ("grpc://a b:1", "names no host"),
        ("grpc://host:x", "cannot be read"),
        ("dns://host:1", "takes grpc and grpcs"),
    ],
)
def test_a_url_that_is_none_is_refused_without_its_secrets(run: Run, url: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as raised:
        run(GrpcDriver().dial(url, DialOptions()))
    assert "secret" not in raised.value.message
