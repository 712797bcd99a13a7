"""Flows that stream, served: called over every driver, described in OpenAPI and by reflection, and in order for any length."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from authority import HERE, Authority
from xooai import ComboDoc, Executor, Flow, NotFound, Text, post, stream

DOCS = 100_000  # through one Flow in all
AT_ONCE = 32  # streams

Serve = Callable[[Any], Executor]


class Word(ComboDoc):
    word: Text
    place: int


class Letters(Executor):
    @stream
    def words(self, doc: Text) -> Iterator[Text]:
        for word in doc.read().split():
            yield Text(value=word)

    @post
    async def upper(self, doc: Text) -> Text:
        await asyncio.sleep(random.random() / 1000)  # so that later ones are done before
        return Text(value=doc.read().upper())

    @stream
    async def numbered(self, docs: AsyncIterator[Text], start: int = 1) -> AsyncIterator[Word]:
        async for doc in docs:
            if doc.read() == "STOP":
                raise NotFound("no more words")
            yield Word(word=doc, place=start)
            start += 1

    @stream
    async def same(self, docs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for doc in docs:
            yield doc

    @stream
    async def longest(self, words: AsyncIterator[Word]) -> Word:
        return max([word async for word in words], key=lambda word: len(word.word.read()))


def chain(use: Any, name: str) -> Flow:
    """One text, a stream of words."""
    f = Flow(name=name).add(use=use, on="words", id="words").add(use=use, on="upper", id="upper", needs="words")
    return f.add(use=use, on="numbered", id="numbered", needs="upper")


def duplex(use: Any, name: str) -> Flow:
    """A stream each way."""
    f = Flow(name=name).add(use=use, on="numbered", id="numbered")
    return f.add(use=_same, id="same", needs="numbered")


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Serve a Flow or an executor by a driver until the test ends: a client that knows nothing of it but the URL."""
    scheme = str(request.param)
    trust: str | None = None
    certificate: dict[str, str] = {}
    if scheme == "quic":
        pytest.importorskip("aioquic", reason="serving needs aioquic; it comes with: pip install -e '.[quic]'")
        authority = Authority(tmp_path)
        pair, trust = authority.signs("here", HERE), str(authority.trust)
        certificate = {"certificate": str(pair.certificate), "key": str(pair.key)}
    with ExitStack() as stack:

        def serve(served: Any) -> Executor:
            at = f"memory://{served.name}" if scheme == "memory" else f"{scheme}://127.0.0.1:0"
            (url,) = stack.enter_context(served).start(at, **certificate)
            return stack.enter_context(Executor.at(f"{url}/{served.name}", trust=trust, timeout=None))

        yield serve


def test_a_flow_that_streams_is_called_over_every_driver(serve: Serve) -> None:
    far = serve(Letters())
    there = serve(chain(far, "chain"))
    both = serve(duplex(far, "duplex"))
    ended = serve(Flow(name="ended").add(use=there, id="chain").add(use=far, on="longest", needs="chain"))
    taken = serve(Flow(name="taken").add(use=both, id="duplex").add(use=far, on="longest", needs="duplex"))

    assert [word.word.read() for word in there.stream(doc=Text(value="to be or"))] == ["TO", "BE", "OR"]
    docs = [Text(value="be"), Text(value="being")]
    assert [(word.word.read(), word.place) for word in both.stream(docs=docs, start=8)] == [("be", 8), ("being", 9)]
    assert ended.post(doc=Text(value="to being or")).place == 2
    assert taken.stream(docs=iter(docs)).word.read() == "being"
    found = there.stream(doc=Text(value="to be stop or"))
    assert [next(found).word.read() for _ in range(2)] == ["TO", "BE"]
    with pytest.raises(NotFound, match=r"^node 'numbered' .* failed: no more words \(request \S+\)$"):
        next(found)


@pytest.fixture
def url() -> Iterator[str]:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    with chain(Letters, "chain") as f:
        yield f"{f.start('http://127.0.0.1:0')[0]}"


@pytest.mark.parametrize(
    ("accept", "first"),
    [
        ("application/x-ndjson", '{"word":{"kind":"text","value":"TO"},"place":1}\n'),
        ("text/event-stream", 'data: {"word":{"kind":"text","value":"TO"},"place":1}\n'),
    ],
    ids=["lines", "events"],
)
def test_any_client_takes_its_items_as_lines_or_events(url: str, accept: str, first: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        body = json.dumps({"doc": {"value": "to be"}})
        connection.request("POST", "/chain/call", body, {"Content-Type": "application/json", "Accept": accept})
        given = connection.getresponse().read().decode()
    finally:
        connection.close()

    assert first in given
    assert '"BE"' in given


def test_its_description_tells_what_each_item_is(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        connection.request("GET", "/openapi.json")
        described = json.loads(connection.getresponse().read())
    finally:
        connection.close()

    call = described["paths"]["/chain/call"]["post"]
    taken = call["requestBody"]["content"]["application/json"]["schema"]
    given = call["responses"]["200"]["content"]["application/x-ndjson"]["x-itemSchema"]
    item = described["components"]["schemas"][given["$ref"].rpartition("/")[2]] if "$ref" in given else given
    assert taken["required"] == ["doc"]
    assert taken["properties"].keys() == {"doc"}
    assert item["properties"].keys() >= {"word", "place"}


def test_reflection_tells_which_sides_stream_and_what_goes_there() -> None:
    grpc: Any = pytest.importorskip("grpc")
    databases: Any = pytest.importorskip("grpc_reflection.v1alpha.proto_reflection_descriptor_database")
    pools: Any = pytest.importorskip("google.protobuf.descriptor_pool")
    with chain(Letters, "chain") as one, duplex(Letters, "duplex") as both:
        ended = Flow(name="ended").add(use=one, id="c").add(use=Letters, on="longest", needs="c")
        for f, sides in ((one, (False, True)), (both, (True, True)), (ended, (False, False))):
            (url,) = f.start("grpc://127.0.0.1:0")
            with grpc.insecure_channel(url.removeprefix("grpc://")) as channel:
                database = databases.ProtoReflectionDescriptorDatabase(channel)
                (service,) = (name for name in database.get_services() if f.name in name.lower())
                (method,) = pools.DescriptorPool(database).FindServiceByName(service).methods
                assert (method.name.lower(), method.client_streaming, method.server_streaming) == ("call", *sides)
                given = {field.name for field in method.output_type.fields}
                assert given >= {"word", "place"}, given
            f.stop()
        ended.close()


def test_the_command_line_shows_items_as_they_come(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich", reason="no module 'rich'; it comes with: pip install -e '.[cli]'")
    main = pytest.importorskip("xooai.cli", reason="no module 'click'; it comes with: pip install -e '.[cli]'").main

    with pytest.raises(SystemExit) as ended:
        main(["post", f"{url}/chain/call", "doc=to be", "--json"])

    given = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (ended.value.code or 0, [word["place"] for word in given]) == (0, [1, 2])


@pytest.mark.parametrize("docs", [960, pytest.param(DOCS, marks=pytest.mark.slow)])
def test_each_of_many_streams_at_once_has_its_own_items_in_their_order(serve: Serve, docs: int) -> None:
    """Through a server, calls for each item that end in another order, and a server again."""
    far = serve(Letters())
    f = Flow(name="order").add(use=far, on="same", id="in").add(use=_shuffled, id="mixed", needs="in")
    there = serve(f.add(use=far, on="same", id="out", needs="mixed"))
    each = docs // AT_ONCE

    async def one(client: Executor, index: int) -> None:
        given = (Text(value=f"{index} {place}") for place in range(each))
        place = 0
        async for doc in client.astream(docs=_async(given)):
            assert doc.read() == f"{index} {place}"
            place += 1
        assert place == each

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for index in range(AT_ONCE):
                group.create_task(one(there, index))
        await there.__aexit__(None, None, None)

    asyncio.run(all_at_once())


async def _async(given: Iterator[Any]) -> AsyncIterator[Any]:
    for item in given:
        yield item


def _same(word: Word) -> Word:
    return word


async def _shuffled(doc: Text) -> Text:
    for _ in range(random.randrange(4)):
        await asyncio.sleep(0)
    return doc
