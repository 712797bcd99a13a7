"""A server of HTTP tells browsers that it also speaks HTTP/3, where they would believe it."""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")
pytest.importorskip("uvicorn", reason="needs the extra http")

from quic_files import Authority, Files

from xooai import Executor, Text, post

BODY = b'{"doc": {"value": "hello"}}'
JSON = {"Content-Type": "application/json"}


class Shouter(Executor):
    @post
    def shout(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())


def asked(url: str, authority: Authority, path: str, body: bytes | None = None) -> tuple[int, str | None]:
    """The status of a request, and what it says of other ways to the server."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=authority.trust)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=20, context=context)
    try:
        connection.request("GET" if body is None else "POST", path, body, JSON if body else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["alt-svc"]
    finally:
        connection.close()


def test_pages_over_https_tell_the_port_of_http3(files: Files, authority: Authority) -> None:
    with Shouter() as e:
        urls = e.start(
            "https://127.0.0.1:0", "quic://127.0.0.1:0", certificate=files.certificate, key=files.key, grace=0
        )
        told = f'h3=":{urlsplit(urls[1]).port}"; ma=3600'

        assert asked(urls[0], authority, "/docs") == (200, told)
        assert asked(urls[0], authority, "/openapi.json") == (200, told)
        assert asked(urls[0], authority, "/shouter/shout", BODY) == (200, None)  # browsers know by then


@pytest.mark.parametrize(
    "others", [(), ("quic://[::1]:0",), ("https://127.0.0.1:0",)], ids=["nothing", "another host", "no QUIC"]
)
def test_a_server_without_http3_at_its_host_tells_nothing(
    files: Files, authority: Authority, others: tuple[str, ...]
) -> None:
    with Shouter() as e:
        url = e.start("https://127.0.0.1:0", *others, certificate=files.certificate, key=files.key, grace=0)[0]

        assert asked(url, authority, "/docs") == (200, None)


def test_a_server_without_tls_tells_nothing(files: Files, authority: Authority) -> None:
    """Browsers would not believe it."""
    with Shouter() as e:
        url = e.start(
            "http://127.0.0.1:0", "quic://127.0.0.1:0", certificate=files.certificate, key=files.key, grace=0
        )[0]

        assert asked(url, authority, "/docs") == (200, None)
