"""/openapi.json of endpoints that stream: valid, honest, and with examples that work."""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

import judging
from xooai import ComboDoc, Executor, Text, stream

judging.needed()

LINES, EVENTS, JSON = "application/x-ndjson", "text/event-stream", "application/json"


class Word(ComboDoc):
    text: str
    weight: float


class Streams(Executor):
    @stream
    async def split(self, doc: Text, most: int = 10) -> AsyncIterator[Word]:
        """Give each word."""
        for word in doc.read().split()[:most]:
            yield Word(text=word, weight=len(word) / 2)

    @stream
    async def join(self, words: AsyncIterator[Word], between: str = " ") -> Text:
        """Put words together."""
        return Text(value=between.join([word.text async for word in words]))

    @stream
    def louder(self, words: Iterator[Word]) -> Iterator[Text]:
        """Say each word louder."""
        for word in words:
            yield Text(value=word.text.upper())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Streams() as streams:
        yield streams.start("http://127.0.0.1:0")[0]


def ask(url: str, method: str = "POST", body: str = "", **headers: str) -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request(method, parts.path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.getheader("content-type", ""), response.read()
    finally:
        connection.close()


@pytest.fixture
def described(url: str) -> Any:
    return json.loads(ask(f"{url}/openapi.json", "GET")[2])


def test_the_description_of_streams_is_valid_openapi(described: Any) -> None:
    assert judging.faults_of_openapi(described) == []


def test_it_offers_what_the_server_takes_and_gives(described: Any) -> None:
    offered = {
        path: (list(methods["post"]["requestBody"]["content"]), list(methods["post"]["responses"]["200"]["content"]))
        for path, methods in described["paths"].items()
    }
    plain = [JSON, "application/msgpack"]
    assert offered == {
        "/streams/split": (plain, [LINES, EVENTS]),
        "/streams/join": ([LINES], plain),
        "/streams/louder": ([LINES], [LINES, EVENTS]),
    }


@pytest.mark.parametrize("path", ["/streams/split", "/streams/join", "/streams/louder"])
def test_its_examples_are_taken_and_answered_as_described(url: str, described: Any, path: str) -> None:
    operation = described["paths"][path]["post"]
    kind, media = next(iter(operation["requestBody"]["content"].items()))
    example = media["example"]
    if kind == LINES:
        opening, item = [json.loads(line) for line in example.splitlines()]
        assert judging.validator(media["x-openingSchema"], described).is_valid(opening)
        assert judging.validator(media["x-itemSchema"], described).is_valid(item)
        assert not judging.validator(media["x-itemSchema"], described).is_valid(7)
    sent = example if kind == LINES else json.dumps(example)
    for wanted, reply in operation["responses"]["200"]["content"].items():
        if wanted == "application/msgpack":
            continue
        status, given, body = ask(f"{url}{path}", "POST", sent, content_type=kind, accept=wanted)
        assert (status, given) == (200, wanted), body
        values = [json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line]
        schema = judging.validator(reply.get("x-itemSchema", reply["schema"]), described)
        assert values
        assert all(schema.is_valid(value) for value in values)
