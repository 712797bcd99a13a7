"""WebSockets whose clients break rules, are silent, slow, fast, or gone, and servers that end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from echo_site import Run, ask, connected, get
from http_talker import Talker, talking
from test_leaving import WAYS_TO_LEAVE
from web_sockets import SOON, framed, handshake, raw, talk, text
from websockets.frames import Close, Opcode

from echoing import EchoSite
from xooai.driver import Channel, ListenOptions, Shape
from xooai_http.driver import HttpDriver
from xooai_http.limits import Limits

CANCELLED = 0.5  # seconds in which a handler hears that its client has left
LEFT = 1.0  # the same, while the server reads nothing from it
SWEPT = 0.05
MIB = 2**20


def close_frame(code: int = 1000) -> bytes:
    return framed(Opcode.CLOSE, Close(code, "").serialize())


async def stalled(talker: Talker) -> None:
    """Wait until every buffer between the handler and its client is full."""
    before = -1
    while before != talker.given or not before:
        before = talker.given
        await asyncio.sleep(0.1)


# Clients that leave


@pytest.mark.parametrize("way", [*WAYS_TO_LEAVE, "says so"])
def test_a_client_that_leaves_cancels_its_handler(run: Run, way: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), raw(listener.url, "shout") as client:
            client.write(text({}), text("hello"))
            await talker.started.wait()
            assert await client.frame() == (Opcode.TEXT, b'"HELLO"')
            if way == "says so":
                client.write(close_frame(1001))
                assert (await client.close()).code == 1001
                assert await client.client.is_closed()
            else:
                WAYS_TO_LEAVE[way](client.client.writer)
            await asyncio.wait_for(talker.cancelled.wait(), CANCELLED)

    run(scene())
    assert not caplog.records


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
def test_a_client_that_leaves_while_nothing_is_read_from_it_is_seen(run: Run, way: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), raw(listener.url, "ignore") as client:
            item = text("x" * 16 * 1024)
            client.write(text({}), *[item] * 30)  # more than the windows, less than the kernel's buffers
            await talker.started.wait()
            await client.client.writer.drain()
            WAYS_TO_LEAVE[way](client.client.writer)
            await asyncio.wait_for(talker.cancelled.wait(), LEFT)

    run(scene())


# Who waits for whom


def test_a_client_that_sends_too_fast_has_to_wait(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), raw(listener.url, "ignore") as client:
            writer = client.client.writer
            client.write(text({}))
            await talker.started.wait()
            item, sent = text("x" * 16 * 1024), 0

            async def send() -> None:
                nonlocal sent
                while sent < 100 * MIB:
                    writer.write(item)
                    sent += len(item)
                    await writer.drain()

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(send(), 1)
            assert sent < 20 * MIB  # nearly all of it in buffers of the kernel
            talker.released.set()
            assert await client.frame() == (Opcode.TEXT, b'"done"')
            assert (await client.close()).code == 1000

    run(scene())


def test_a_client_that_takes_nothing_stops_the_handler(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), raw(listener.url, "flood", limit=2**16) as client:
            client.client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            client.write(text({"size": 16 * 1024, "n": 6400}))
            await stalled(talker)
            assert talker.given < 1600
            client.client.writer.transport.abort()
            await asyncio.wait_for(talker.closed.wait(), CANCELLED)

    run(scene())


def test_a_client_that_closes_and_takes_nothing_is_not_waited_for(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), raw(listener.url, "flood", limit=2**16) as client:
            client.write(text({"size": 16 * 1024, "n": 6400}))
            await stalled(talker)
            client.write(close_frame())
            await asyncio.wait_for(talker.closed.wait(), CANCELLED)
            client.client.writer.transport.abort()

    run(scene())


def test_a_slow_client_gets_everything(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), talk(listener.url, "flood") as call:
            await call.say({"size": 64 * 1024, "n": 100})
            await asyncio.sleep(0.2)
            items, code = await call.rest()
            assert ([len(item) for item in items], code) == ([64 * 1024] * 100, 1000)

    run(scene())


# Rules and limits


def test_a_message_may_have_exactly_the_limit(run: Run) -> None:
    async def scene() -> None:
        options = ListenOptions(message_limit=1000)
        async with talking(options) as (listener, _), talk(listener.url, "shout") as call:
            await call.say({}, "x" * 998)
            assert await call.hear() == "X" * 998
            await call.say("x" * 999)
            assert await call.rest() == ([], 1009)

    run(scene())


BREACHES: dict[str, tuple[list[bytes], int]] = {
    "more is announced than the limit": ([framed(Opcode.TEXT, b"x" * 1001)[:4]], 1009),
    "much more is announced": ([b"\x81\xff" + (2**62).to_bytes(8)], 1009),
    "fragments beyond the limit": ([framed(Opcode.TEXT, b"x" * 600, fin=False), framed(Opcode.CONT, b"x" * 401)], 1009),
    "a frame without a mask": ([b"\x81\x02{}"], 1002),
    "an unknown kind of frame": ([b"\x83\x80abcd"], 1002),
    "compression that was not agreed": ([b"\xc1\x80abcd"], 1002),
    "a fragment of nothing": ([framed(Opcode.CONT, b"x")], 1002),
    "a message within a message": ([framed(Opcode.TEXT, b"{", fin=False), framed(Opcode.TEXT, b"{}")], 1002),
    "a ping that is too long": ([b"\x89\xfe\x00\x7eabcd" + bytes(126)], 1002),
    "text that is no UTF-8": ([framed(Opcode.TEXT, b"\xff")], 1007),
    "a close with a code that is none": ([framed(Opcode.CLOSE, (5).to_bytes(2))], 1002),
}


def test_who_breaks_a_rule_is_told_by_the_close(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with talking(ListenOptions(message_limit=1000)) as (listener, talker):
            for breach, (frames, code) in BREACHES.items():
                talker.started.clear()
                talker.cancelled.clear()
                async with raw(listener.url, "shout") as client:
                    client.write(text({}))
                    await talker.started.wait()
                    client.write(*frames)
                    assert ((await client.close()).code, breach) == (code, breach)
                    assert await client.client.is_closed()
                    await asyncio.wait_for(talker.cancelled.wait(), CANCELLED)

    run(scene())
    assert not caplog.records


def test_a_message_may_come_in_any_pieces(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), raw(listener.url, "shout") as client:
            client.write(text({}))
            empty = framed(Opcode.CONT, fin=False)
            pieces = [framed(Opcode.TEXT, fin=False), *[empty] * 10_000, framed(Opcode.CONT, '"ä'.encode()[:-1], False)]
            client.write(*pieces, framed(Opcode.PING, b"?"), framed(Opcode.CONT, '"ä'.encode()[-1:] + b'"'))
            assert await client.frame() == (Opcode.PONG, b"?")
            assert await client.frame() == (Opcode.TEXT, '"Ä"'.encode())
            for byte in text("slowly"):
                client.write(bytes((byte,)))
                await client.client.writer.drain()
            assert await client.frame() == (Opcode.TEXT, b'"SLOWLY"')

    run(scene())


def test_messages_may_come_with_the_handshake(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), connected(listener.url) as client:
            client.write(handshake("/talker/total") + text({}) + text(20) + text(22) + framed(Opcode.TEXT))
            assert (await client.response()).status == 101
            assert await client.reader.readexactly(4) == b"\x81\x0242"
            assert (await client.reader.readexactly(4))[2:] == (1000).to_bytes(2)

    run(scene())


def test_all_bodies_together_are_bounded(run: Run) -> None:
    async def scene() -> None:
        async with talking(limits=Limits(buffered=300_000)) as (listener, talker):
            async with raw(listener.url, "ignore") as first, raw(listener.url, "shout") as second:
                first.write(text({}), framed(Opcode.TEXT, b"x" * 250_000)[:-1])
                await talker.started.wait()
                await first.client.writer.drain()
                await ask(listener.url, get("/livez"))  # by now it has been read
                second.write(text({}), framed(Opcode.TEXT, b"x" * 250_000)[:-1])
                closed = await second.close()
                assert (closed.code, "try again later" in closed.reason) == (4008, True)
            async with talk(listener.url, "shout") as call:  # what they held is free again
                await call.say({}, "x" * 200_000)
                assert len(await call.hear()) == 200_000

    run(scene())


def test_a_handshake_that_is_none_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for old, new in (
                ("Version: 13", "Version: 8"),
                ("Sec-WebSocket-Key: dGhl", "Sec-WebSocket-Key: d"),
                ("Sec-WebSocket-Key", "Sec-WebSocket-Lock"),
                ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13"),
            ):
                response = await ask(listener.url, handshake("/talker/shout").replace(old.encode(), new.encode()))
                assert response.status == 400
                assert "no handshake of a WebSocket" in response.problem["detail"]

    run(scene())


def test_the_limits_of_a_head_are_those_of_every_request(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            too_many = [f"X-{number}: 1" for number in range(100)]
            assert (await ask(listener.url, handshake("/talker/shout", *too_many))).status == 431
            assert (await ask(listener.url, handshake("/talker/shout", "X: " + "x" * 9000))).status == 431
            assert (await ask(listener.url, handshake("/talker/shout?timeout=" + "1" * 9000))).status == 414
            assert (await ask(listener.url, handshake("/talker/shout", "Host: localhost"))).status == 400

    run(scene())


def test_a_handshake_that_was_sent_ahead_is_not_taken(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), connected(listener.url) as client:
            client.write(get("/livez") + handshake("/talker/shout"))
            assert (await client.response()).body == b"live\n"
            assert await client.is_closed()
            assert not talker.started.is_set()

    run(scene())


def test_a_websocket_counts_as_a_connection(run: Run) -> None:
    async def scene() -> None:
        async with talking(limits=Limits(connections=1)) as (listener, talker):
            async with talk(listener.url, "shout") as call:
                await call.say({})
                await talker.started.wait()
                asking = asyncio.create_task(ask(listener.url, get("/livez")))
                await call.say("a")
                assert await call.hear() == "A"
                assert not asking.done()
            assert (await asyncio.wait_for(asking, SOON)).status == 200

    run(scene())


# Silence


def test_a_client_that_does_not_answer_is_dropped(run: Run) -> None:
    async def scene() -> None:
        limits = Limits(ping=0.1, pong=0.2, sweep=SWEPT)
        async with talking(limits=limits) as (listener, talker), raw(listener.url, "shout") as client:
            client.write(text({}))
            await talker.started.wait()
            assert await client.frame() == (Opcode.PING, b"")
            await asyncio.wait_for(talker.cancelled.wait(), SOON)
            assert await client.client.is_closed()

    run(scene())


def test_a_client_that_answers_may_be_silent(run: Run) -> None:
    async def scene() -> None:
        limits = Limits(ping=0.1, pong=SOON, sweep=SWEPT)
        async with talking(limits=limits) as (listener, _), raw(listener.url, "shout") as client:
            client.write(text({}))
            for _ in range(6):
                assert await client.frame() == (Opcode.PING, b"")
                client.write(framed(Opcode.PONG))
            client.write(text("still here"))
            assert await client.frame() == (Opcode.TEXT, b'"STILL HERE"')

    run(scene())


def test_a_client_that_is_not_heard_is_not_missed(run: Run) -> None:
    """While its messages wait for the handler, its answers do too."""

    async def scene() -> None:
        limits = Limits(ping=0.1, pong=0.1, sweep=SWEPT)
        async with talking(limits=limits) as (listener, talker), raw(listener.url, "ignore") as client:
            client.write(text({}), *[text("x" * 16 * 1024)] * 30)
            await talker.started.wait()
            await asyncio.sleep(0.6)  # that nothing happens can only be seen by waiting
            talker.released.set()
            assert await client.frame() == (Opcode.TEXT, b'"done"')

    run(scene())


@pytest.mark.parametrize(
    "begun", [framed(Opcode.TEXT, b"x" * 100)[:50], framed(Opcode.TEXT, b"x", fin=False)], ids=["frame", "fragment"]
)
def test_a_message_that_has_begun_must_move(run: Run, begun: bytes) -> None:
    async def scene() -> None:
        limits = Limits(window=0.2, sweep=SWEPT)
        async with talking(limits=limits) as (listener, talker), raw(listener.url, "shout") as client:
            client.write(text({}))
            await talker.started.wait()
            await asyncio.sleep(0.5)  # between messages there is time
            client.write(begun)
            closed = await client.close()
            assert (closed.code, "slower than" in closed.reason) == (4004, True)
            await asyncio.wait_for(talker.cancelled.wait(), CANCELLED)

    run(scene())


def test_pings_are_answered_but_not_all_of_who_takes_nothing(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), raw(listener.url, "flood", limit=2**16) as client:
            client.write(framed(Opcode.PING, b"one"))
            assert await client.frame() == (Opcode.PONG, b"one")
            client.write(text({"size": 256 * 1024, "n": 100}))
            await stalled(talker)
            client.write(*[framed(Opcode.PING, b"p" * 125)] * 5000)
            await client.client.writer.drain()
            await ask(listener.url, get("/livez"))
            pongs = 0
            while (found := await client.frame())[0] is not Opcode.CLOSE:
                pongs += found[0] is Opcode.PONG
            assert (talker.given, pongs < 1000) == (100, True)

    run(scene())


# Servers that end


def test_a_server_that_ends_lets_calls_finish(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), talk(listener.url, "shout") as call:
            await call.say({}, "a")
            assert await call.hear() == "A"
            closing = asyncio.create_task(listener.aclose(grace=SOON))
            await asyncio.sleep(0.1)
            await call.say("b")
            assert await call.hear() == "B"
            await call.end()
            assert await call.rest() == ([], 1000)
            await asyncio.wait_for(closing, SOON)
            assert not talker.cancelled.is_set()

    run(scene())


def test_a_server_that_waits_no_longer_says_that_it_goes(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker), raw(listener.url, "shout") as client:
            client.write(text({}))
            await talker.started.wait()
            await listener.aclose(grace=0.1)
            assert talker.cancelled.is_set()
            assert await client.close() == Close(1001, "the server stopped before the call was done")
            assert await client.client.is_closed()

    run(scene())
    assert not caplog.records


def test_a_listener_may_end_at_any_moment_of_a_call(run: Run) -> None:
    async def scene() -> None:
        for moment in range(14):
            async with talking() as (listener, _), connected(listener.url) as client:
                client.write(handshake("/talker/shout") + text({}) + text("a") + framed(Opcode.TEXT))
                for _ in range(moment):
                    await asyncio.sleep(0)
                await asyncio.wait_for(listener.aclose(), 2)

    run(scene())


def test_a_client_that_does_not_answer_a_close_is_left(run: Run) -> None:
    async def scene() -> None:
        async with (
            talking(limits=Limits(linger=0.2, sweep=SWEPT)) as (listener, _),
            raw(listener.url, "count") as client,
        ):
            client.write(text({"n": 1}))
            assert await client.frame() == (Opcode.TEXT, b"0")
            assert (await client.close()).code == 1000
            assert await client.client.is_closed()

    run(scene())


def test_a_hundred_at_once_do_not_get_into_each_others_way(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), aiohttp.ClientSession() as session:

            async def one(number: int) -> list[Any]:
                async with session.ws_connect(f"{listener.url}/talker/shout") as found:
                    await found.send_str("{}")
                    for index in range(5):
                        await found.send_json(f"a{number}-{index}")
                    await found.send_str("")
                    return [message.json() async for message in found]

            answers = await asyncio.gather(*map(one, range(100)))
            assert answers == [[f"A{number}-{index}" for index in range(5)] for number in range(100)]

    run(scene())


class Failing(EchoSite):
    """A site of another kind than ours, which gives up its calls or fails itself."""

    def shape(self, path: str) -> Shape | None:
        return Shape.BIDI

    async def accept(self, channel: Channel) -> None:
        if channel.head.path == "/talker/abort":
            channel.abort()
            channel.abort()
            await asyncio.sleep(SOON)
        raise ValueError("no site does this")


@pytest.mark.parametrize(("endpoint", "logged"), [("abort", 0), ("fail", 1)])
def test_a_call_that_is_given_up_or_left_alone_is_no_success(
    run: Run, endpoint: str, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        listener = await HttpDriver().listen("http://127.0.0.1:0", Failing(), ListenOptions())
        async with talk(listener.url, endpoint) as call:
            assert await call.rest() == ([], 1011)
        await listener.aclose()

    run(scene())
    assert len(caplog.records) == logged
