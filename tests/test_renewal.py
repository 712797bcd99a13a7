"""A server takes renewed TLS files for new connections while it listens, over every driver with TLS."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from authority import HERE, Authority, Pair
from grpc_poller import poller
from xooai import InvalidArgument, Unavailable, plugins, renewal
from xooai.driver import DialOptions, Link, ListenOptions, Shape
from xooai.renewal import Renewal
from xooai.testing.suite.calls import Served, answered
from xooai.testing.suite.site import ScriptedSite, packed

__all__ = ["poller"]

PATIENCE = 20.0  # seconds: what waits longer fails its test instead of stopping the run
EVERY = 0.02  # seconds between looks at the files here, so that a test need not wait
GLANCE = 0.01
SCHEMES = ["https", "grpcs", "quic on aioquic", "quic on qh3"]


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of each driver; that of QUIC on each library."""
    found, _, library = str(request.param).partition(" on ")
    if library and find_spec(library) is None:
        pytest.skip(f"needs {library}")
    monkeypatch.setenv("XOOAI_QUIC", library or "aioquic")
    monkeypatch.setattr(renewal, "EVERY", EVERY)
    plugins.driver(found)
    return found


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one, so that clients can tell by whom they trust which certificate is served."""
    return Authority(tmp_path_factory.mktemp("after"))


@pytest.fixture(scope="module")
def old(before: Authority) -> Pair:
    return before.signs("server", HERE)


@pytest.fixture(scope="module")
def new(after: Authority) -> Pair:
    return after.signs("server", HERE)


class Standing:
    """The files of a server, and how they are renewed."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self.certificate, self.key = folder / "live.crt", folder / "live.key"
        self.replace(pair)

    def options(self, **more: Any) -> ListenOptions:
        return ListenOptions(str(self.certificate), str(self.key), **more)

    def replace(self, pair: Pair) -> None:
        """One file after the other, each by a rename."""
        replace(self.certificate, pair.certificate.read_bytes())
        replace(self.key, pair.key.read_bytes())


class Swapped(Standing):
    """Files behind a link to the folder that has them, as a cluster mounts its secrets."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self._link = folder / "data"
        super().__init__(folder, pair)
        for name in (self.certificate, self.key):
            name.symlink_to(Path("data") / name.name)

    def replace(self, pair: Pair) -> None:
        made = self._link.with_name(f"of {pair.fingerprint}")
        made.mkdir()
        (made / self.certificate.name).write_bytes(pair.certificate.read_bytes())
        (made / self.key.name).write_bytes(pair.key.read_bytes())
        link = self._link.with_name("data.new")
        link.symlink_to(made.name)
        link.rename(self._link)


def replace(name: Path, content: bytes) -> None:
    written = name.with_suffix(".new")
    written.write_bytes(content)
    written.rename(name)


class Server:
    """One that listens, and what its clients see."""

    def __init__(self, url: str, site: ScriptedSite) -> None:
        self.url, self.site = url, site

    @asynccontextmanager
    async def linked(self, trust: Path | str, **options: Any) -> AsyncIterator[Link]:
        link = await plugins.driver(urlsplit(self.url).scheme).dial(self.url, DialOptions(str(trust), **options))
        try:
            yield link
        finally:
            await link.aclose()

    async def answers(self, trust: Path | str, **options: Any) -> bool:
        """Whether a new connection is made by a client that trusts this authority only."""
        async with self.linked(trust, **options) as link:
            try:
                return await self.call(link) == [packed(1)]
            except Unavailable:
                return False

    async def call(self, link: Link) -> list[bytes]:
        return (await self._served(link).call("last", Shape.UNARY, packed(1)))[0]

    async def begun(self, link: Link) -> Coroutine[Any, Any, list[bytes]]:
        """A call that waits in its handler; what comes of it."""
        channel = await self._served(link).open("wait", Shape.UNARY, packed(2))
        await self.site.started.wait()
        return answered(channel)

    async def shows(self, pair: Pair) -> bool:
        """Whether this very certificate is served, by its fingerprint."""
        if self.url.startswith("quic:"):
            return await self.answers(f"sha256:{pair.fingerprint}")
        return await shown(self.url) == pair.fingerprint

    async def will(self, see: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        while not await see():  # noqa: ASYNC110 - a server tells nobody that its files are renewed
            await asyncio.sleep(GLANCE)

    def _served(self, link: Link) -> Served:
        return Served(self.site, None, link)  # type: ignore[arg-type]  # its listener is not asked for


async def shown(url: str) -> str:
    """The fingerprint of the certificate that a connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    place = urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return hashlib.sha256(found).hexdigest()


def serving(url: str, options: ListenOptions, scene: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    """Run a scene with a server."""

    async def run() -> None:
        site = ScriptedSite()
        listener = await plugins.driver(urlsplit(url).scheme).listen(url, site, options)
        try:
            async with asyncio.timeout(PATIENCE):
                await scene(Server(listener.url, site))
        finally:
            await listener.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("way", [Standing, Swapped])
def test_new_connections_get_the_renewed_certificate_and_those_that_stand_go_on(
    scheme: str, way: type[Standing], tmp_path: Path, before: Authority, after: Authority, old: Pair, new: Pair
) -> None:
    files = way(tmp_path, old)

    async def scene(server: Server) -> None:
        assert await server.shows(old)
        async with server.linked(before.trust) as link:
            call = asyncio.ensure_future(await server.begun(link))
            files.replace(new)
            await server.will(lambda: server.shows(new))
            assert await server.answers(after.trust)
            assert not await server.answers(before.trust)

            server.site.released.set()
            assert await call == [packed(2)]
            assert await server.call(link) == [packed(1)]  # by a client that does not trust the new one

    serving(f"{scheme}://127.0.0.1:0", files.options(), scene)


def test_they_are_renewed_at_each_address(scheme: str, tmp_path: Path, old: Pair, new: Pair) -> None:
    files = Standing(tmp_path, old)

    async def scene(server: Server) -> None:
        there = [Server(server.url.replace("localhost", host), server.site) for host in ("127.0.0.1", "[::1]")]
        assert all([await one.shows(old) for one in there])
        files.replace(new)
        for one in there:
            await one.will(lambda one=one: one.shows(new))  # type: ignore[misc]

    serving(f"{scheme}://localhost:0", files.options(), scene)


def spoil(files: Standing, how: str, new: Pair) -> None:
    if how == "another key":
        replace(files.certificate, new.certificate.read_bytes())
    elif how == "half a certificate":
        files.certificate.write_bytes(new.certificate.read_bytes()[:300])
    elif how == "half a key":
        files.key.write_bytes(new.key.read_bytes()[:100])
    else:
        files.key.unlink()


@pytest.mark.parametrize("how", ["another key", "half a certificate", "half a key", "no key"])
def test_files_that_do_not_fit_change_nothing_until_they_do(
    scheme: str, how: str, tmp_path: Path, old: Pair, new: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    files = Standing(tmp_path, old)
    caplog.set_level(logging.INFO, "xooai.tls")

    async def scene(server: Server) -> None:
        spoil(files, how, new)
        while not caplog.records:
            assert await server.shows(old)
        for _ in range(3):
            await asyncio.sleep(2 * EVERY)
            assert await server.shows(old)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        files.replace(new)
        await server.will(lambda: server.shows(new))

    serving(f"{scheme}://127.0.0.1:0", files.options(), scene)

    assert str(tmp_path) in caplog.messages[0]
    assert caplog.records[-1].levelname == "INFO"
    secrets = [line for pair in (old, new) for line in pair.key.read_text().splitlines()[1:-1]]
    assert not any(secret in caplog.text for secret in secrets)


@pytest.mark.parametrize("scheme", ["https", "grpcs"], indirect=True)
def test_the_authorities_of_clients_are_renewed_too(
    scheme: str, tmp_path: Path, before: Authority, after: Authority, old: Pair
) -> None:
    files, clients = Standing(tmp_path, old), tmp_path / "clients.pem"
    clients.write_bytes(before.trust.read_bytes())
    known, stranger = (str(one.signs("client").both) for one in (before, after))

    async def scene(server: Server) -> None:
        assert await server.answers(before.trust, certificate=known)
        assert not await server.answers(before.trust, certificate=stranger)
        clients.write_bytes(b"-----BEGIN CERTIFICATE-----")  # half a file: nobody is let in, and nobody out
        await asyncio.sleep(2 * EVERY)
        assert await server.answers(before.trust, certificate=known)
        replace(clients, after.trust.read_bytes())
        await server.will(lambda: server.answers(before.trust, certificate=stranger))
        assert not await server.answers(before.trust, certificate=known)

    serving(f"{scheme}://127.0.0.1:0", files.options(clients=str(clients)), scene)


@pytest.mark.parametrize("scheme", ["https"], indirect=True)
def test_a_server_answers_to_the_names_in_its_renewed_certificate(
    scheme: str, tmp_path: Path, before: Authority, old: Pair
) -> None:
    files, other = Standing(tmp_path, old), before.signs("other", f"DNS:other.example,{HERE}")

    async def status(server: Server) -> str:
        """Of a call by another name."""
        context, place = ssl.create_default_context(cafile=str(before.trust)), urlsplit(server.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=context)
        writer.write(b"POST /unary/last HTTP/1.1\r\nHost: other.example\r\nContent-Length: 1\r\n\r\n1")
        found = (await reader.readline()).decode()
        writer.transport.abort()
        return found.split()[1]

    async def scene(server: Server) -> None:
        assert await status(server) == "403"
        files.replace(other)
        await server.will(lambda: server.shows(other))
        assert await status(server) == "200"

    serving(f"{scheme}://127.0.0.1:0", files.options(), scene)


class Looks(list[float]):
    """When a file was looked at."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        stat = os.stat

        def counted(name: Any, *arguments: Any, **options: Any) -> os.stat_result:
            if name == str(file):
                self.append(monotonic())
            return stat(name, *arguments, **options)

        monkeypatch.setattr(os, "stat", counted)


def test_many_connections_look_at_the_files_now_and_then(
    scheme: str, tmp_path: Path, before: Authority, old: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Standing(tmp_path, old)
    monkeypatch.setattr(renewal, "EVERY", 0.1)

    async def scene(server: Server) -> None:
        while monotonic() < began + 0.4 or len(looks) < 2:
            assert await server.answers(before.trust)
            assert monotonic() < began + PATIENCE

    looks, began = Looks(files.certificate, monkeypatch), monotonic()
    serving(f"{scheme}://127.0.0.1:0", files.options(), scene)

    assert 2 <= len(looks) <= (monotonic() - began) / 0.1 + 1


def test_thousands_of_connections_in_a_second_look_once(
    tmp_path: Path, old: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, made = Standing(tmp_path, old), list[int]()
    looks, began = Looks(files.certificate, monkeypatch), monotonic()

    async def scene() -> None:
        current = Renewal("https://here", files.options(), lambda: made.append(1)).current
        for _ in range(100_000):
            current()

    asyncio.run(scene())

    assert made == [1]
    assert len(looks) <= monotonic() - began + 1


def test_files_that_change_while_they_are_read_are_read_again(
    tmp_path: Path, old: Pair, new: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, read = Standing(tmp_path, old), list[bytes]()
    monkeypatch.setattr(renewal, "EVERY", 0.0)

    def reads() -> tuple[bytes, bytes]:
        certificate = files.certificate.read_bytes()
        read.append(certificate)
        if len(read) == 2:  # between one file and the other
            files.replace(new)
        return certificate, files.key.read_bytes()

    async def scene() -> None:
        current = Renewal("https://here", files.options(), reads).current
        first = current()
        files.replace(old)
        assert current() is first  # not half of each
        assert current() == (new.certificate.read_bytes(), new.key.read_bytes())
        assert current() is current()

    asyncio.run(scene())


def test_what_could_not_be_read_is_tried_again_without_a_change(
    tmp_path: Path, old: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files, tries = Standing(tmp_path, old), list[int]()
    monkeypatch.setattr(renewal, "EVERY", 0.0)

    def made() -> int:
        tries.append(len(tries))
        if tries[-1] in (1, 2):
            raise PermissionError("not yet")
        return tries[-1]

    async def scene() -> None:
        current = Renewal("https://here", files.options(), made).current
        files.replace(old)
        assert [current() for _ in range(4)] == [0, 0, 3, 3]
        await asyncio.sleep(0)

    asyncio.run(scene())

    assert len(caplog.records) == 1


def test_what_is_wrong_at_first_is_told_at_once(scheme: str, tmp_path: Path, old: Pair, new: Pair) -> None:
    files = Standing(tmp_path, old)
    spoil(files, "another key", new)

    with pytest.raises(InvalidArgument, match="not a PEM certificate and its unencrypted key"):
        serving(f"{scheme}://127.0.0.1:0", files.options(), lambda _: asyncio.sleep(0))
