"""A handler knows who calls by the certificate that the client has shown, over every driver that asks for one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from authority import HERE, Authority, Pair
from grpc_poller import poller
from xooai import Executor, current, plugins, post, stream
from xooai.codec import CODECS
from xooai.driver import DialOptions, Head, Link, ListenOptions, Shape
from xooai.server import Site
from xooai.testing.suite.calls import answered, opened

__all__ = ["poller"]

PATIENCE = 20.0  # seconds: what waits longer fails its test instead of stopping the run
JSON = CODECS["json"]


class Asked(Executor):
    @post
    async def who(self) -> str:
        return str(current().identity)

    @post
    def who_in_thread(self) -> str:
        return str(current().identity)

    @stream
    async def who_streams(self) -> AsyncIterator[str]:
        yield str(current().identity)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Pair:
    return authority.signs("server", HERE)


@pytest.fixture(params=["https", "https on uvloop", "grpcs"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[str], Coroutine[Any, Any, None]]], None]:
    """Run a scene with the URL of a driver to listen at, on a loop of one kind."""
    scheme, _, library = str(request.param).partition(" on ")
    plugins.driver(scheme)
    factory = pytest.importorskip(library).new_event_loop if library else None

    def run(scene: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        async def patiently() -> None:
            async with asyncio.timeout(PATIENCE):
                await scene(f"{scheme}://127.0.0.1:0")

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(patiently())

    return run


@asynccontextmanager
async def listening(url: str, own: Pair, clients: Path | None) -> AsyncIterator[str]:
    site = Site((Asked()._xooai_local(),))
    site.open()
    options = ListenOptions(str(own.both), clients=None if clients is None else str(clients))
    listener = await plugins.driver(urlsplit(url).scheme).listen(url, site, options)
    try:
        yield listener.url
    finally:
        await listener.aclose()


@asynccontextmanager
async def linked(url: str, authority: Authority, client: Pair | None) -> AsyncIterator[Link]:
    options = DialOptions(str(authority.trust), certificate=None if client is None else str(client.both))
    link = await plugins.driver(urlsplit(url).scheme).dial(url, options)
    try:
        yield link
    finally:
        await link.aclose()


async def who(link: Link, endpoint: str = "who", **head: Any) -> str:
    shape = Shape.SERVER if endpoint == "who_streams" else Shape.UNARY
    (found,) = await answered(
        await opened(link, Head(f"/asked/{endpoint}", JSON.media_type, shape=shape, **head), b"{}")
    )
    return found.decode().strip('"')


@pytest.mark.parametrize(
    ("names", "subject", "expected"),
    [
        ("DNS:a.example,email:b@c.example,URI:spiffe://d/e,URI:https://f", None, "spiffe://d/e"),
        ("IP:192.0.2.1,DNS:a.example,email:b@c.example", None, "b@c.example"),
        ("DNS:a.example,DNS:b.example", None, "a.example"),
        ("IP:192.0.2.1", "/O=org/CN=me/CN=other", "me"),
        ("", "/CN=Zoë", "Zoë"),
        ("", "/O=org", "None"),
    ],
)
def test_the_first_uri_names_a_client_then_email_and_host_then_its_common_name(
    run: Any, authority: Authority, own: Pair, names: str, subject: str | None, expected: str
) -> None:
    client = authority.signs("client", names, subject)

    async def scene(url: str) -> None:
        async with listening(url, own, authority.trust) as url, linked(url, authority, client) as link:
            assert await who(link) == expected

    run(scene)


@pytest.mark.parametrize("endpoint", ["who", "who_in_thread", "who_streams"])
def test_each_call_of_a_client_has_its_name_whatever_it_says(
    run: Any, authority: Authority, own: Pair, endpoint: str
) -> None:
    clients = [authority.signs(name, f"URI:spiffe://{name}") for name in ("one", "two")]
    said = dict.fromkeys(("identity", "xooai-identity", "peer_uri", "x509_common_name", "x-client-cert"), "root")

    async def scene(url: str) -> None:
        async with (
            listening(url, own, authority.trust) as url,
            linked(url, authority, clients[0]) as one,
            linked(url, authority, clients[1]) as two,
        ):
            for _ in range(3):  # what is remembered of a call is not its client
                assert await who(one, endpoint, identity="root", metadata=said) == "spiffe://one"
                assert await who(two, endpoint, identity="root", metadata=said) == "spiffe://two"

    run(scene)


def test_a_page_that_streams_over_a_websocket_has_its_name(authority: Authority, own: Pair) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    plugins.driver("https")
    context = ssl.create_default_context(cafile=str(authority.trust))
    context.load_cert_chain(authority.signs("client", "URI:spiffe://one").both)

    async def scene() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            listening("https://127.0.0.1:0", own, authority.trust) as url,
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/asked/who_streams", ssl=context, headers={"xooai.identity": "root"}) as socket,
        ):
            await socket.send_str("{}")
            await socket.send_str("")
            assert await socket.receive_str() == '"spiffe://one"'

    asyncio.run(scene())


def test_a_call_with_a_stub_has_the_name_of_its_client(authority: Authority, own: Pair) -> None:
    client = authority.signs("client", "URI:spiffe://one")
    plugins.driver("grpcs")
    path, payload = b"asked/who", b"{}"
    request = b"\x0a%c%b\x12%c%b" % (len(path), path, len(payload), payload)  # as a message of xooai.proto

    async def scene() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            listening("grpcs://127.0.0.1:0", own, authority.trust) as url,
            linked(url, authority, client) as link,
        ):
            (reply,) = await answered(await opened(link, Head("/xooai.Endpoints/Post", JSON.media_type), request))
            assert b'"spiffe://one"' in reply

    asyncio.run(scene())


def test_a_server_that_does_not_ask_knows_nobody(run: Any, authority: Authority, own: Pair) -> None:
    client = authority.signs("client", "URI:spiffe://one")

    async def scene(url: str) -> None:
        async with listening(url, own, None) as url:
            for certificate in (client, None):
                async with linked(url, authority, certificate) as link:
                    assert await who(link, identity="root") == "None"

    run(scene)
