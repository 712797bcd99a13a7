"""A server that asks who calls answers those alone that its authorities know, over every driver with TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from authority import HERE, Authority
from grpc_poller import poller
from xooai import Executor, InvalidArgument, Unavailable, plugins, post, serve
from xooai.driver import DialOptions, ListenOptions, Shape
from xooai.testing.suite.calls import Served
from xooai.testing.suite.site import ScriptedSite, packed

__all__ = ["poller"]

PATIENCE = 20.0  # seconds: what waits longer fails its test instead of stopping the run


class Whoami(Executor):
    @post
    def who(self) -> int:
        return 1


class Files(msgspec.Struct):
    """PEM files: the authority, a server and a client that it knows, and a stranger with an authority of its own."""

    authority: str
    server: str
    client: str
    stranger: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    return Files(
        authority=str(authority.trust),
        server=str(authority.signs("server", HERE).both),
        client=str(authority.signs("client").both),
        stranger=str(Authority(tmp_path_factory.mktemp("others")).own.both),
    )


@pytest.fixture(params=["https", "grpcs"])
def url(request: pytest.FixtureRequest) -> str:
    plugins.driver(request.param)
    return f"{request.param}://127.0.0.1:0"


def serving(
    url: str, files: Files, scene: Callable[[ScriptedSite, Callable[..., Any]], Coroutine[Any, Any, None]]
) -> None:
    """Run a scene with a server that asks who calls, and a way to make a call with options of its own."""

    async def run() -> None:
        driver, site = plugins.driver(urlsplit(url).scheme), ScriptedSite()
        listener = await driver.listen(url, site, ListenOptions(files.server, clients=files.authority))

        async def call(shape: Shape = Shape.UNARY, **options: Any) -> list[bytes]:
            link = await driver.dial(listener.url, DialOptions(trust=files.authority, **options))
            try:
                return (await Served(site, listener, link).call("last", shape, packed(1)))[0]
            finally:
                await link.aclose()

        try:
            async with asyncio.timeout(PATIENCE):
                await scene(site, call)
        finally:
            await listener.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("shape", [Shape.UNARY, Shape.BIDI])
def test_a_client_that_the_authority_knows_is_answered(url: str, files: Files, shape: Shape) -> None:
    async def scene(site: ScriptedSite, call: Callable[..., Any]) -> None:
        assert await call(shape, certificate=files.client) == [packed(1)]

    serving(url, files, scene)


@pytest.mark.parametrize("shape", [Shape.UNARY, Shape.BIDI])
@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_any_other_client_is_refused_and_hurts_no_other_call(url: str, files: Files, shape: Shape, who: str) -> None:
    async def scene(site: ScriptedSite, call: Callable[..., Any]) -> None:
        own = {"certificate": files.stranger} if who == "a stranger" else {}
        known = asyncio.ensure_future(call(certificate=files.client))
        with pytest.raises(Unavailable):
            await call(shape, **own)
        assert await known == [packed(1)]
        assert await call(certificate=files.client) == [packed(1)]
        assert len(site.received) == 2

    serving(url, files, scene)


def test_what_is_no_authority_is_refused_before_anybody_connects(url: str, files: Files, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing of the kind")
    driver = plugins.driver(urlsplit(url).scheme)

    for name in (str(empty), str(tmp_path / "missing.pem")):
        with pytest.raises(InvalidArgument, match="clients="):
            asyncio.run(driver.listen(url, ScriptedSite(), ListenOptions(files.server, clients=name)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"key": "me.key"}, r"key='me.key' needs certificate="),
        ({"certificate": "missing.pem"}, r"cannot read the TLS file 'missing.pem'"),
    ],
)
def test_half_a_certificate_is_refused(url: str, options: dict[str, Any], says: str) -> None:
    driver = plugins.driver(urlsplit(url).scheme)

    with pytest.raises(InvalidArgument, match=says):
        asyncio.run(driver.dial(url.replace(":0", ":1"), DialOptions(**options)))


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("schemes", [("http",), ("grpc", "http")])
def test_a_server_with_a_certificate_that_no_url_uses_is_refused(
    schemes: tuple[str, ...], workers: int | None, files: Files
) -> None:
    urls = [f"{scheme}://127.0.0.1:0" for scheme in schemes]

    with pytest.raises(
        InvalidArgument, match=rf"certificate=.* is for {schemes[0]}s://, and {urls[0]}.* served in clear"
    ):
        serve(Whoami, at=urls, certificate=files.server, workers=workers)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_certificate_is_for_tls(scheme: str, files: Files) -> None:
    driver = plugins.driver(scheme)

    with pytest.raises(InvalidArgument, match=f"certificate=.* is for {scheme}s"):
        asyncio.run(driver.dial(f"{scheme}://127.0.0.1:1", DialOptions(certificate=files.client)))
    with pytest.raises(InvalidArgument, match=f"clients=.* is for {scheme}s"):
        asyncio.run(driver.listen(f"{scheme}://127.0.0.1:0", ScriptedSite(), ListenOptions(clients=files.authority)))
