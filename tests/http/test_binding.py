"""Where a listener listens, with and without TLS, and what is said where it cannot."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from typing import Any

import pytest
from echo_site import Run, ask, connected, listening, post

from echoing import EchoSite
from xooai.driver import ListenOptions
from xooai.errors import InvalidArgument, PermissionDenied, Unavailable
from xooai_http.driver import HttpDriver

OWN = "api.example.com,DNS:*.models.example,IP:2001:db8::1"  # further names in the certificate
SOON = 5  # seconds: far more than anything here takes, so that only what never comes runs into it


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listen(url: str, **options: Any) -> None:
    listener = await HttpDriver().listen(url, EchoSite(), ListenOptions(**options))
    await listener.aclose()


def test_port_0_takes_a_free_one_and_says_which(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            assert listener.url.startswith("http://127.0.0.1:")
            assert (await ask(listener.url, post(body=b"[1]"))).body == b"[1]"

    run(scene())


def test_localhost_answers_at_both_loopback_addresses(run: Run) -> None:
    async def scene() -> None:
        async with listening("http://localhost:0") as (listener, _):
            port = listener.url.rpartition(":")[2]
            assert (await ask(f"http://127.0.0.1:{port}", post())).status == 200
            if socket.has_ipv6:
                assert (await ask(f"http://[::1]:{port}", post())).status == 200

    run(scene())


def test_an_ipv6_address_is_written_in_brackets(run: Run) -> None:
    async def scene() -> None:
        async with listening("http://[::1]:0") as (listener, _):
            assert listener.url.startswith("http://[::1]:")
            data = f"POST /echo/say HTTP/1.1\r\nHost: {listener.url[7:]}\r\nContent-Length: 0\r\n\r\n"
            assert (await ask(listener.url, data.encode())).status == 200

    run(scene())


def test_a_port_in_use_is_named_with_a_way_out(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            with pytest.raises(Unavailable) as caught:
                await listen(listener.url)
            assert caught.value.message == (
                f"cannot listen at {listener.url}: the address is in use; take another port (0 means any free one)"
            )

    run(scene())


def test_a_port_is_free_again_as_soon_as_its_listener_has_closed(run: Run) -> None:
    async def scene() -> None:
        url = f"http://127.0.0.1:{free_port()}"
        for _ in range(20):
            async with listening(url):
                assert (await ask(url, post())).status == 200

    run(scene())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:0/echo", "without a path"),
        ("http://me@127.0.0.1:0", "nothing beside"),
        ("http://127.0.0.1:0?a=b", "nothing beside"),
        ("http://127.0.0.1:99999", "Port out of range"),
        ("http://:0", "http(s)://host:port"),
        ("ftp://127.0.0.1:0", "http(s)://host:port"),
        ("http://no.such.host.invalid:0", "'no.such.host.invalid' is not known here"),
    ],
)
def test_a_url_that_is_no_place_to_listen_is_refused(run: Run, url: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        run(listen(url))
    assert said in caught.value.message
    assert url in caught.value.message


def test_a_host_is_looked_up_where_it_is_a_name(run: Run) -> None:
    name = socket.gethostname()
    try:
        found = {str(address[4][0]) for address in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)}
    except OSError:
        pytest.skip("this machine does not know its own name")
    if all(address.startswith("127.") or address == "::1" for address in found):
        run(listen(f"http://{name}:0"))
    else:
        with pytest.raises(PermissionDenied, match="others could reach it"):
            run(listen(f"http://{name}:0"))


def test_an_address_of_another_machine_is_refused(run: Run) -> None:
    with pytest.raises(InvalidArgument, match=r"'192\.0\.2\.1' is no address of this machine"):
        run(listen("http://192.0.2.1:0", insecure=True))


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_an_address_beyond_loopback_takes_a_decision(run: Run, host: str) -> None:
    with pytest.raises(PermissionDenied, match="insecure=True"):
        run(listen(f"http://{host}:0"))


def test_a_host_that_is_none_is_no_name_of_the_server(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="'a b' is not a host name"):
        run(listen("http://127.0.0.1:0", hosts=("a b",)))


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate for localhost and more, its key, one that is not for servers, another key, and one with a password."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("pem")
    names = {name: str(folder / name) for name in ("certificate", "key", "other", "locked", "unfit")}
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:{OWN}"]
    files = ["-keyout", names["key"], "-out", names["certificate"]]
    subprocess.run([*new, *name, *files], check=True, capture_output=True)
    again = ["openssl", "req", "-x509", "-key", names["key"], *name, "-addext", "extendedKeyUsage=clientAuth"]
    subprocess.run([*again, "-out", names["unfit"]], check=True, capture_output=True)
    ec = ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-out", names["other"]]
    subprocess.run(ec, check=True, capture_output=True)
    lock = ["openssl", "ec", "-in", names["key"], "-aes128", "-passout", "pass:secret", "-out", names["locked"]]
    subprocess.run(lock, check=True, capture_output=True)
    return names


def test_https_answers_by_its_certificate(run: Run, pem: dict[str, str]) -> None:
    options = ListenOptions(certificate=pem["certificate"], key=pem["key"])
    trusting = ssl.create_default_context(cafile=pem["certificate"])

    async def scene() -> None:
        async with listening("https://localhost:0", options) as (listener, site):
            assert listener.url.startswith("https://localhost:")
            async with connected(listener.url, ssl=trusting, server_hostname="localhost") as client:
                for body in (b"[1]", bytes(300_000)):
                    assert (await client.ask(post(body=body))).body == body
                client.write(post("wait"))
                await site.started.wait()
            await asyncio.wait_for(site.cancelled.wait(), SOON)

    run(scene())


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.com", 200),
        ("API.example.com:8443", 200),
        ("one.models.example", 200),
        ("[2001:db8::1]", 200),
        ("localhost", 200),
        ("example.com", 403),
        ("models.example", 403),
        ("one.two.models.example", 403),
    ],
)
def test_a_server_is_called_by_the_names_in_its_certificate(
    run: Run, pem: dict[str, str], host: str, status: int
) -> None:
    """A tunnel that ends at loopback brings the name that its clients have checked."""
    options = ListenOptions(certificate=pem["certificate"], key=pem["key"])
    trusting = ssl.create_default_context(cafile=pem["certificate"])

    async def scene() -> None:
        async with (
            listening("https://127.0.0.1:0", options) as (listener, _),
            connected(listener.url, ssl=trusting) as client,
        ):
            request = post().replace(b"Host: localhost", b"Host: " + host.encode())
            assert (await client.ask(request)).status == status

    run(scene())


def test_a_certificate_that_no_client_accepts_names_nobody(run: Run, pem: dict[str, str]) -> None:
    options = ListenOptions(certificate=pem["unfit"], key=pem["key"])
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE

    async def scene() -> None:
        async with listening("https://127.0.0.1:0", options) as (listener, _):
            for host, status in ((b"localhost", 200), (b"api.example.com", 403)):
                async with connected(listener.url, ssl=unchecked) as client:
                    assert (await client.ask(post().replace(b"Host: localhost", b"Host: " + host))).status == status

    run(scene())


def test_tls_before_1_2_and_plain_http_get_no_further(run: Run, pem: dict[str, str]) -> None:
    options = ListenOptions(certificate=pem["certificate"], key=pem["key"])
    old = ssl.create_default_context(cafile=pem["certificate"])

    async def scene() -> None:
        async with listening("https://localhost:0", options) as (listener, _):
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(listener.url, ssl=old):
                    pass
            async with connected(listener.url) as client:
                client.write(post())
                assert b"HTTP" not in await client.reader.read()

    run(scene())


@pytest.mark.parametrize(
    ("certificate", "key", "named"),
    [
        ("missing", "key", "missing"),
        ("certificate", "missing", "missing"),
        ("certificate", "other", "other"),
        ("certificate", "locked", "locked"),
        ("key", "key", "key"),
        ("certificate", None, "certificate"),
    ],
)
def test_a_bad_certificate_or_key_is_named(
    run: Run, pem: dict[str, str], certificate: str, key: str | None, named: str
) -> None:
    files = {**pem, "missing": "no/such/file.pem"}
    with pytest.raises(InvalidArgument) as caught:
        run(listen("https://127.0.0.1:0", certificate=files[certificate], key=key and files[key]))
    assert repr(files[named]) in caught.value.message


def test_https_without_a_certificate_says_what_it_takes(run: Run) -> None:
    with pytest.raises(InvalidArgument, match="needs certificate= and key="):
        run(listen("https://127.0.0.1:0"))
