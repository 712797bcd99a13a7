"""Calls that stream over a WebSocket: what is said in them, as everybody's client says it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from echo_site import Run, ask, get
from http_talker import Talker, talking
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from test_asgi import hosted
from web_sockets import END, JSON, MSGPACK, SOON, handshake, talk

from xooai.asgi import Application
from xooai.driver import ListenOptions
from xooai.errors import Code
from xooai.mount import application
from xooai.server import Site

PROTOCOLS = [None, JSON, MSGPACK]
LIBRARIES = [
    "websockets-sansio",
    pytest.param("wsproto", marks=pytest.mark.skipif(find_spec("wsproto") is None, reason="needs wsproto")),
]
"""What uvicorn speaks WebSocket with."""
CONTENTS = {None: "text", JSON: "text", MSGPACK: "binary"}


def test_each_item_is_answered_before_the_next_is_sent(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for protocol in PROTOCOLS:
                async with talk(listener.url, "shout", protocol) as call:
                    assert call.socket.protocol == protocol
                    await call.say({})
                    for word in ("to", "be", "or", "not", "", "ä€𝄞"):
                        await call.say(word)
                        assert await call.hear() == word.upper()
                    await call.end()
                    assert await call.rest() == ([], 1000)

    run(scene())


def test_the_server_may_speak_first_and_hears_metadata(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for protocol in PROTOCOLS:
                async with talk(listener.url, "greet", protocol, headers={"X-Tenant": "acme"}) as call:
                    await call.say({})
                    assert await call.hear() == "hello acme"
                    await call.say("welcome")
                    await call.end()
                    assert await call.rest() == (["welcome to you, too"], 1000)

    run(scene())


def test_a_stream_of_replies_wants_nothing_but_its_opening(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for protocol in PROTOCOLS:
                for n, found in ((3, [0, 1, 2]), (0, [])):
                    async with talk(listener.url, "count", protocol) as call:
                        await call.say({"n": n})
                        assert await call.rest() == (found, 1000)
                async with talk(listener.url, "steps", protocol) as call:
                    await call.say({"n": 2})
                    await call.end()  # it may
                    items, code = await call.rest()
                    assert ([item["value"] for item in items], code) == (["0", "1"], 1000)

    run(scene())


def test_a_stream_of_requests_has_one_reply(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker):
            for protocol in PROTOCOLS:
                for numbers, total in (((1, 2, 3), 12), ((), 0)):
                    async with talk(listener.url, "total", protocol) as call:
                        await call.say({"scale": 2}, *numbers)
                        await call.end()
                        assert await call.rest() == ([total], 1000)
                async with talk(listener.url, "first", protocol) as call:  # answered early
                    await call.say({}, 7)
                    assert await call.rest() == ([7], 1000)
            assert talker.given == 9

    run(scene())


def test_many_items_come_in_order_whatever_is_sent_ahead(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), talk(listener.url, "shout") as call:

            async def say() -> None:
                await call.say({}, *(f"w{number}" for number in range(3000)))
                await call.end()

            saying = asyncio.create_task(say())
            assert await call.rest() == ([f"W{number}" for number in range(3000)], 1000)
            await saying

    run(scene())


# Errors


@pytest.mark.parametrize("n", [0, 2])
def test_an_error_comes_behind_the_items_and_is_none_of_them(run: Run, n: int) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for protocol in PROTOCOLS:
                async with talk(listener.url, "fail", protocol) as call:
                    await call.say({"n": n})
                    messages = [message async for message in call.socket]
                    kinds = [message.type.name.lower() for message in messages]
                    assert kinds == [CONTENTS[protocol]] * (n + 1) + ["text"]
                    assert [bool(message.data) for message in messages] == [True] * n + [False, True]
                    problem = messages[-1].json()
                    assert (problem["title"], problem["status"], problem["details"]) == ("NOT_FOUND", 404, {"n": n})
                    assert problem["detail"] == f"there is no item {n}"
                    assert call.socket.close_code == 4000 + Code.NOT_FOUND

    run(scene())


def test_an_error_in_a_conversation_ends_it(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), talk(listener.url, "shout") as call:
            await call.say({}, "fine")
            assert await call.hear() == "FINE"
            await call.say("fail")
            items, problem, code = await call.outcome()
            assert (items, problem["detail"], code) == ([], "nothing is louder", 4005)

    run(scene())


INVALID: list[tuple[list[str | bytes], str]] = [
    (["{}", '"two"'], "valid integer"),
    (['{"scale": "much"}'], "scale"),
    (['{"scales": 1}'], "scales"),
    (["[]"], "object"),
    (["{}", "{"], "JSON"),
    (["{}", b"1"], "a message is binary, not text; this WebSocket takes JSON, in messages of text"),
    ([""], "opening"),
]


def test_what_is_not_valid_is_refused(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for said, found in INVALID:
                async with talk(listener.url, "total") as call:
                    for message in said:
                        if isinstance(message, str):
                            await call.socket.send_str(message)
                        else:
                            await call.socket.send_bytes(message)
                    items, problem, code = await call.outcome()
                    assert (items, problem["title"], code) == ([], "INVALID_ARGUMENT", 4003)
                    assert found in str(problem)

    run(scene())


def test_text_is_no_msgpack(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), talk(listener.url, "total", MSGPACK) as call:
            await call.socket.send_str("{}")
            items, problem, code = await call.outcome()
            assert (items, code) == ([], 4003)
            assert "takes msgpack, in binary messages" in problem["detail"]

    run(scene())


def test_a_long_message_of_an_error_is_whole_in_the_problem(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), talk(listener.url, "total") as call:
            await call.say({"x" * 70 + "ä" * 100: 1})
            _, problem, code = await call.outcome()
            assert code == 4003
            assert len(problem["detail"].encode()) > 123  # for which there is room in a close

    run(scene())


@pytest.mark.parametrize("way", ["?timeout=0.2", "?timeout=0", "header", "the shorter"])
def test_the_time_for_a_call_is_in_the_query_or_a_header(run: Run, way: str) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker):
            query = {"header": "", "the shorter": "?timeout=600"}.get(way, way)
            headers = {} if way.startswith("?") else {"xooai-timeout": "200"}
            async with talk(listener.url, f"shout{query}", headers=headers) as call:
                await call.say({})
                items, problem, code = await call.outcome()
                assert (items, problem["title"], code) == ([], "DEADLINE_EXCEEDED", 4004)
                assert talker.started.is_set() is talker.cancelled.is_set()
                assert not (way == "?timeout=0" and talker.started.is_set())  # what is expired is not started

    run(scene())


# What is no call


REFUSED: dict[str, tuple[str, dict[str, Any], int]] = {
    "no such endpoint": ("nothing", {}, 404),
    "one request and one reply": ("say", {}, 405),
    "a subprotocol that nobody speaks": ("shout", {"protocols": ["chat", "xooai.xml"]}, 400),
    "arguments in the query": ("shout?n=3", {}, 400),
    "a time twice": ("shout?timeout=1&timeout=2", {}, 400),
    "a time that is none": ("shout?timeout=soon", {}, 400),
    "a time beyond all times": ("shout?timeout=1e9", {}, 400),
    "a page of another origin": ("shout", {"origin": "http://evil.test"}, 403),
    "a page without origin": ("shout", {"origin": "null"}, 403),
    "a page of another port": ("shout", {"origin": "http://127.0.0.1:1"}, 403),
    "a server of another name": ("shout", {"headers": {"Host": "evil.test"}}, 403),
    "a time in a header that is none": ("shout", {"headers": {"xooai-timeout": "soon"}}, 400),
}


async def refused(url: str, case: str) -> None:
    endpoint, options, status = REFUSED[case]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(f"{url}/talker/{endpoint}", **options)
        assert (caught.value.status, case) == (status, case)
        assert caught.value.headers is not None
        assert caught.value.headers["content-type"] == "application/problem+json"


def test_what_is_no_call_is_refused_at_the_handshake(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, talker):
            for case in REFUSED:
                await refused(listener.url, case)
            assert not talker.started.is_set()

    run(scene())


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_no_call_is_refused_at_the_handshake_behind_another_server(run: Run, library: str) -> None:
    async def scene() -> None:
        talker = Talker()
        async with hosted(application(talker), ws=library) as url:
            for case in REFUSED:
                if case != "a server of another name":  # its names are the business of who runs it
                    await refused(url, case)
            assert not talker.started.is_set()

    run(scene())


def test_a_page_of_the_server_may_open_one(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            for protocols in (["chat", JSON], [MSGPACK, JSON]):
                async with (
                    aiohttp.ClientSession() as session,
                    session.ws_connect(
                        f"{listener.url}/talker/shout", origin=listener.url, protocols=protocols
                    ) as socket,
                ):
                    assert socket.protocol == next(name for name in protocols if name != "chat")

    run(scene())


def test_what_else_is_there_stays_as_it_is(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _):
            upgrade = ("Connection: Upgrade", "Upgrade: websocket")
            assert (await ask(listener.url, get("/livez", *upgrade))).body == b"live\n"
            assert (await ask(listener.url, get("/talker/shout"))).status == 405
            assert (await ask(listener.url, get("/talker/shout", "Connection: Upgrade", "Upgrade: h2c"))).status == 405
            old = handshake("/talker/shout").replace(b"HTTP/1.1", b"HTTP/1.0")
            assert (await ask(listener.url, old)).status == 405
            with_body = handshake("/talker/shout", "Content-Length: 2") + b"{}"
            assert (await ask(listener.url, with_body)).status == 405

    run(scene())


def test_the_access_log_has_a_line_for_each(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="xooai.access")

    async def scene() -> None:
        async with talking() as (listener, _):
            async with talk(listener.url, "shout?timeout=9") as call:
                await call.say({}, "a")
                await call.end()
                await call.rest()
            await refused(listener.url, "a time twice")
            await refused(listener.url, "a page of another origin")

    run(scene())
    lines = [
        record.getMessage().split(" ", 1)[1].split("'") for record in caplog.records if record.name == "xooai.access"
    ]
    assert [(request, rest.split()[0]) for _, request, rest in lines] == [
        ("GET /talker/shout?timeout=9", "101"),
        ("GET /talker/shout?timeout=1&timeout=2", "400"),
        ("GET /talker/shout", "403"),
    ]


# Where else


@pytest.mark.parametrize("library", LIBRARIES)
def test_it_is_there_where_the_application_is_mounted(run: Run, library: str) -> None:
    async def scene() -> None:
        talker = Talker()
        routes = [Mount("/models", application(talker))]
        theirs = Starlette(routes=routes, middleware=[Middleware(CORSMiddleware)])
        async with hosted(theirs, ws=library) as url:
            for protocol in PROTOCOLS:
                async with talk(f"{url}/models", "greet", protocol) as call:
                    await call.say({"tenant": "all"})
                    assert await call.hear() == "hello all"
                    await call.say("welcome")
                    await call.end()
                    assert await call.rest() == (["welcome to you, too"], 1000)
            async with talk(f"{url}/models", "fail") as call:
                await call.say({"n": 1})
                items, problem, code = await call.outcome()
                assert (items, problem["title"], code) == ([0], "NOT_FOUND", 4005)
            async with talk(f"{url}/models", "shout") as call:
                await call.say({}, "hello")
                assert await call.hear() == "HELLO"
            await asyncio.wait_for(talker.cancelled.wait(), 0.5)

    run(scene())


def test_the_limit_of_a_message_is_ours_where_that_of_the_server_is_larger(run: Run) -> None:
    async def scene() -> None:
        site = Site((Talker()._xooai_local(),))
        site.open()
        ours = Application(site, message_limit=1000)
        async with hosted(ours, ws="websockets-sansio") as url, talk(url, "shout") as call:
            await call.say({}, "x" * 998)
            assert await call.hear() == "X" * 998
            await call.say("x" * 999)
            items, problem, code = await call.outcome()
            assert (items, problem["status"], code) == ([], 413, 4008)

    run(scene())


def test_it_is_there_over_tls(run: Run, certificate: Path) -> None:
    async def scene() -> None:
        trust = ssl.create_default_context(cafile=str(certificate))
        options = ListenOptions(certificate=str(certificate))
        async with (
            talking(options, url="https://127.0.0.1:0") as (listener, talker),
            talk(listener.url, "shout", ssl=trust) as call,
        ):
            await call.say({}, "x" * 100_000)
            assert await call.hear() == "X" * 100_000
            await call.socket.close()
            await asyncio.wait_for(talker.cancelled.wait(), 0.5)

    run(scene())


# Leaving


def test_a_handler_that_wants_no_more_closes(run: Run) -> None:
    async def scene() -> None:
        async with talking() as (listener, _), talk(listener.url, "first") as call:
            await call.say({}, 1)
            message = await call.socket.receive(SOON)
            assert message.data == "1"
            await call.socket.send_str(END)  # too late, and nothing bad
            assert await call.rest() == ([], 1000)

    run(scene())
