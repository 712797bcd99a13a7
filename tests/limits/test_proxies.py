"""Where a call comes from behind a proxy: believed from those alone that are named, whatever a client writes."""

from __future__ import annotations

import asyncio
import http.client
import importlib
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from time import thread_time
from urllib.parse import urlsplit

import pytest

from authority import HERE, Authority
from xooai import Executor, InvalidArgument, ResourceExhausted, Unauthenticated, current, plugins, post
from xooai.keys.file import changed
from xooai.proxies import Proxies

PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48")
US, AWAY = "127.0.0.1:4711", "198.51.100.9:4711"


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        (US, "203.0.113.7", "203.0.113.7:0"),
        (US, "203.0.113.7:8080", "203.0.113.7:0"),
        (US, "2001:db8::7", "[2001:db8::7]:0"),
        (US, "[2001:db8::7]:80", "[2001:db8::7]:0"),
        (US, "::ffff:203.0.113.7", "203.0.113.7:0"),
        ("::ffff:127.0.0.1:4711", "203.0.113.7", "203.0.113.7:0"),
        ("[2001:db8:ffff::1]:4711", "203.0.113.7", "203.0.113.7:0"),
        (US, "1.1.1.1, 203.0.113.7, 10.0.0.3", "203.0.113.7:0"),
        (US, "10.0.0.2, 10.0.0.3", "10.0.0.2:0"),
        (US, "1.1.1.1, unknown, 10.0.0.3", "10.0.0.3:0"),
        (US, "unknown", US),
        (US, "203.0.113.7,", US),
        (US, "203.0.113.7\n1.1.1.1", US),
        (US, "203.0.113.777", US),
        (US, "", US),
        (AWAY, "203.0.113.7", AWAY),
        ("", "203.0.113.7", ""),
        ("/run/socket:1", "203.0.113.7", "/run/socket:1"),
    ],
)
def test_x_forwarded_for(peer: str, told: str, client: str) -> None:
    assert Proxies(PROXIES).client(peer, {"x-forwarded-for": told}) == client


@pytest.mark.parametrize(
    ("told", "client"),
    [
        ('For="[2001:db8:cafe::17]:4711"', "[2001:db8:cafe::17]:0"),  # this and the next ones from RFC 7239
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60:0"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17:0"),
        ('for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown', US),
        ('for=_hidden, for=_SEVKISEK, for="10.0.0.1"', "10.0.0.1:0"),
        ('for=_gazonk;ext="a, for=1.1.1.1", for=192.0.2.60', "192.0.2.60:0"),
        ('for=192.0.2.60;ext="a\\", for=1.1.1.1"', "192.0.2.60:0"),
        ('for="192.0.2.60\\"', US),
        ("by=203.0.113.43", US),
        ("xfor=192.0.2.60", US),
        ("for=192.0.2.60;for=1.1.1.1", US),
        ('host="x;for=1.1.1.1;y";for=192.0.2.60', "192.0.2.60:0"),  # what a client has written, as a proxy quotes it
        ('for=1.1.1.1;by=", for="[2001:db8::7]"', US),  # a quote that a client has left open, before what a proxy adds
        ('for=1.1.1.1;by=", for="192.0.2.60:80", for="10.0.0.3:80"', US),
        ('", for=192.0.2.60', US),
    ],
)
def test_forwarded(told: str, client: str) -> None:
    assert Proxies(PROXIES).client(US, {"forwarded": told}) == client


def test_a_header_of_quotes_that_are_never_closed_is_read_at_once() -> None:
    began = thread_time()
    assert Proxies(PROXIES).client(US, {"forwarded": '"' + '\\"' * 16_000}) == US
    assert thread_time() - began < 1


def test_what_is_remembered_of_long_headers_takes_no_memory() -> None:
    proxies = Proxies(PROXIES)
    tracemalloc.start()
    try:
        for number in range(512):
            assert proxies.client(US, {"x-forwarded-for": f"{number:016000}, 192.0.2.60"}) == "192.0.2.60:0"
        assert tracemalloc.get_traced_memory()[0] < 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("standard", "client"), [("for=192.0.2.60", "192.0.2.60:0"), ("for=1.1.1.1", US), ("by=_x", US)]
)
def test_where_both_headers_differ_neither_counts(standard: str, client: str) -> None:
    assert Proxies(PROXIES).client(US, {"x-forwarded-for": "192.0.2.60", "forwarded": standard}) == client


def test_it_finds_what_uvicorn_finds() -> None:
    middleware = pytest.importorskip("uvicorn.middleware.proxy_headers").ProxyHeadersMiddleware
    hosts = ["1.1.1.1", "10.0.0.3", "127.0.0.1", "2001:db8::9", "2001:db8:ffff::2"]
    lists = [[a, b, c] for a in hosts for b in hosts for c in hosts]
    seen: list[str] = []

    async def application(scope: Mapping[str, tuple[str, int]], receive: object, send: object) -> None:
        seen.append(scope["client"][0])

    async def main() -> None:
        inside = middleware(application, list(PROXIES))
        for one in lists:
            headers = [(b"x-forwarded-for", ", ".join(one).encode())]
            await inside({"type": "http", "client": ("127.0.0.1", 4711), "headers": headers}, None, None)

    asyncio.run(main())
    ours = Proxies(PROXIES)
    found = [ours.client(US, {"x-forwarded-for": ", ".join(one)}) for one in lists]
    assert [one.rpartition(":")[0].strip("[]") for one in found] == seen


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy.example.com", "*", "300.0.0.1"])
def test_what_is_no_network_is_told_at_the_start(wrong: str) -> None:
    plugins.driver("http")
    with Told() as told, pytest.raises(InvalidArgument, match=r"it takes addresses and networks, as 10\.0\.0\.0/8"):
        told.start("http://127.0.0.1:0", trusted_proxies=[wrong])


class Told(Executor):
    @post
    async def peer(self) -> str:
        return current().peer


Start = Callable[..., str]


@pytest.fixture(params=["http", "grpc", "quic"])
def start(request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Serve an executor behind proxies, over one driver after the other."""
    plugins.driver(request.param)
    certificate = None
    if request.param == "quic":
        certificate = str(authority.signs("server", HERE).both)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
    return lambda executor, **more: executor.start(f"{request.param}://127.0.0.1:0", certificate=certificate, **more)[0]


def test_over_every_driver_a_call_comes_from_where_the_proxy_says(start: Start) -> None:
    metadata = {"x-forwarded-for": "1.1.1.1, 203.0.113.7"}
    with Told() as told:
        url = start(told, trusted_proxies="127.0.0.0/8")
        with Told.at(url) as client:
            assert client.post("peer", metadata=metadata) == "203.0.113.7:0"
            assert client.post("peer").startswith("127.0.0.1:")


def test_over_every_driver_nobody_is_believed_who_is_not_named(start: Start) -> None:
    metadata = {"x-forwarded-for": "203.0.113.7", "forwarded": "for=203.0.113.7"}
    with Told() as told:
        url = start(told, trusted_proxies=("10.0.0.0/8",))
        with Told.at(url) as client:
            assert client.post("peer", metadata=metadata).startswith("127.0.0.1:")
        told.stop()
        with Told.at(start(told)) as client:
            assert client.post("peer", metadata=metadata).startswith("127.0.0.1:")


def test_headers_that_several_proxies_have_added_are_one_list() -> None:
    plugins.driver("http")
    with Told() as told:
        where = urlsplit(told.start("http://127.0.0.1:0", trusted_proxies=PROXIES)[0])
        with closing(http.client.HTTPConnection(where.netloc, timeout=20)) as connection:
            connection.putrequest("POST", "/told/peer")
            for line in ("1.1.1.1, 203.0.113.7", "10.0.0.9", "10.0.0.8"):
                connection.putheader("X-Forwarded-For", line)
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", "2")
            connection.endheaders(b"{}")
            assert connection.getresponse().read() == b'"203.0.113.7:0"'


def test_a_message_of_grpc_that_has_metadata_of_its_own_does_not_say_where_it_comes_from() -> None:
    grpc = pytest.importorskip("grpc")
    opaque = pytest.importorskip("xooai_grpc.opaque")
    plugins.driver("grpc")
    request = importlib.import_module("google.protobuf.message_factory").GetMessageClass(
        opaque.Opaque().pool.FindMessageTypeByName("xooai.Request")
    )
    written = {"x-forwarded-for": "1.1.1.1", "forwarded": "for=1.1.1.1"}
    message = request(path="told/peer", payload=b"{}", metadata=written).SerializeToString()
    with Told() as told:
        where = urlsplit(told.start("grpc://127.0.0.1:0", trusted_proxies=PROXIES)[0])
        with grpc.insecure_channel(where.netloc) as channel:
            post = channel.unary_unary("/xooai.Endpoints/Post")
            added = (("x-forwarded-for", "1.1.1.1, 203.0.113.7"),)
            assert b'"203.0.113.7:0"' in post(message, metadata=added, timeout=20)
            assert b'"127.0.0.1:' in post(message, timeout=20)


def test_wrong_keys_are_counted_by_who_stands_behind_the_proxy(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    with changed(file):
        pass  # no key at all is in there
    monkeypatch.setenv("XOOAI_KEYS", str(file))
    wrong = f"Bearer xo_{'0' * 16}_{'A' * 43}"

    def tried(address: str) -> type[Exception]:
        with pytest.raises((Unauthenticated, ResourceExhausted)) as caught:
            client.post("peer", metadata={"authorization": wrong, "x-forwarded-for": f"10.9.9.9, {address}"})
        return caught.type

    with Told() as told:
        url = start(told, trusted_proxies="127.0.0.1")
        with Told.at(url, retry=0) as client:
            assert {tried("203.0.113.7") for _ in range(20)} == {Unauthenticated}
            assert tried("203.0.113.7") is ResourceExhausted
            assert tried("203.0.113.8") is Unauthenticated
