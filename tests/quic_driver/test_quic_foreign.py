"""A client of HTTP/3 that is not ours calls a program over QUIC: curl, by its Python binding."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")
pytest.importorskip("curl_cffi", reason="needs curl_cffi")

import curl_cffi
from quic_files import Authority, Files

from xooai import Executor, NotFound, Text, post, stream


class Counter(Executor):
    """Endpoints of every shape."""

    @post
    async def echo(self, doc: Text) -> Text:
        return doc

    @stream
    async def count(self, number: int) -> AsyncIterator[int]:
        for found in range(number):
            yield found

    @stream
    async def stumble(self) -> AsyncIterator[int]:
        yield 1
        raise NotFound("there is no more")

    @stream
    async def joined(self, doc: AsyncIterator[Text]) -> Text:
        return Text(value="".join([one.read() async for one in doc]))

    @stream
    async def back(self, doc: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for one in doc:
            yield one


@pytest.fixture
def url(library: str, files: Files) -> Iterator[str]:
    with Counter() as counter:
        (bound,) = counter.start("quic://127.0.0.1:0", certificate=files.certificate, key=files.key)
        yield bound.replace("quic:", "https:")


@pytest.fixture
def curl(authority: Authority, url: str) -> Iterator[Any]:
    """It speaks HTTP/3 or nothing, and leaves before its server does."""
    options: dict[str, Any] = {"http_version": curl_cffi.CurlHttpVersion.V3ONLY, "verify": authority.trust}
    with curl_cffi.Session(**options, timeout=20) as session:
        yield session


def test_it_posts_json(curl: Any, url: str) -> None:
    answer = curl.post(f"{url}/counter/echo", json={"doc": {"value": "grüße"}})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"kind": "text", "value": "grüße"}
    assert answer.http_version == curl_cffi.CurlHttpVersion.V3


def test_it_posts_and_gets_a_large_body(curl: Any, url: str) -> None:
    value = "0123456789" * 300_000

    assert curl.post(f"{url}/counter/echo", json={"doc": {"value": value}}).json()["value"] == value


def test_it_reads_a_stream_as_lines(curl: Any, url: str) -> None:
    parts: list[bytes] = []

    def take(part: bytes) -> int:
        parts.append(part)
        return len(part)

    answer = curl.post(f"{url}/counter/count", json={"number": 10_000}, content_callback=take)

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len(parts) > 1
    assert [json.loads(line) for line in b"".join(parts).splitlines()] == list(range(10_000))


def test_it_reads_a_stream_as_events(curl: Any, url: str) -> None:
    answer = curl.post(f"{url}/counter/count", json={"number": 2}, headers={"accept": "text/event-stream"})

    assert answer.text == "data: 0\n\ndata: 1\n\n"


def test_it_sends_a_stream_of_lines(curl: Any, url: str) -> None:
    lines = b'{}\n{"value": "a"}\n{"value": "b"}\n'
    headers = {"content-type": "application/x-ndjson"}

    assert curl.post(f"{url}/counter/joined", data=lines, headers=headers).json()["value"] == "ab"
    answer = curl.post(f"{url}/counter/back", data=lines, headers=headers)
    assert [json.loads(line)["value"] for line in answer.text.splitlines()] == ["a", "b"]


def test_a_stream_that_ends_with_an_error_is_no_short_stream(curl: Any, url: str) -> None:
    """The error comes as the last line, and then the stream is cut off."""
    with pytest.raises(curl_cffi.exceptions.RequestException):
        curl.post(f"{url}/counter/stumble", json={})


def test_an_error_is_a_problem_document(curl: Any, url: str) -> None:
    answer = curl.post(f"{url}/counter/ecko", json={})

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "did you mean" in answer.json()["detail"]


def test_it_gets_the_pages(curl: Any, url: str) -> None:
    assert "/counter/echo" in curl.get(f"{url}/openapi.json").json()["paths"]
    assert "<html" in curl.get(f"{url}/docs").text
    assert curl.get(f"{url}/readyz").text == "ready\n"
    assert curl.head(f"{url}/docs").status_code == 200


def test_it_checks_the_certificate(url: str) -> None:
    with (
        curl_cffi.Session(http_version=curl_cffi.CurlHttpVersion.V3ONLY, timeout=20) as stranger,
        pytest.raises(curl_cffi.exceptions.RequestException),
    ):
        stranger.post(f"{url}/counter/echo", json={"doc": {"value": "x"}})
