"""Whole executors over gRPC: the same program gives the same answers as within its process."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from hypothesis import Phase, given, settings

import cases
from xooai import (
    Audio,
    ComboDoc,
    DeadlineExceeded,
    Executor,
    Image,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Text,
    Unavailable,
    Unimplemented,
    XooaiError,
    current,
    post,
    stream,
)
from xooai.plugins import Plugin, driver, installed

HERE = "grpc://127.0.0.1:0"
PATIENCE = 20  # seconds: what hangs fails


class Page(ComboDoc):
    title: str
    scan: Image | None = None
    parts: list[Text | Audio] = []


class Reader(Executor):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.started = threading.Event()
        self.cancelled = threading.Event()

    @post
    def read(self, doc: Image, min_score: float = 0.5) -> Text:
        return Text(value=f"{len(doc.read())} bytes over {min_score}")

    @post
    async def turn(self, page: Page) -> Page:
        return page

    @post
    def said(self, name: str) -> Text:
        current().reply_metadata["x-model"] = "v3"
        return Text(value=current().metadata.get(name, ""))

    @post
    def busy(self, doc: Text) -> Text:
        raise ResourceExhausted("come back", retry_after=31)  # for which no client waits

    @post
    def broken(self, doc: Text) -> Text:
        raise ValueError("hunter2 in /srv/models")

    @stream
    async def letters(self, text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter

    @post
    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


@pytest.fixture
def url(reader: Reader) -> str:
    return reader.start(HERE)[0]


@pytest.fixture(params=["with the class", "without"])
def client(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    made: Any = Reader.at(url) if request.param == "with the class" else Executor(f"{url}/reader")
    with made:
        yield made


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("read", {"doc": Image(value=b"GIF89a")}),
    ("read", {"doc": Image(value=b"GIF89a"), "min_score": 0.25}),
    (
        "turn",
        {"page": Page(title="ä", scan=Image(value=bytes(100_000)), parts=[Text(value="x"), Audio(value=b"RIFF")])},
    ),
]


@pytest.mark.parametrize(("on", "arguments"), CALLS, ids=lambda given: given if isinstance(given, str) else "")
def test_a_call_gives_the_same_as_in_process(
    reader: Reader, client: Any, codec: str, on: str, arguments: dict[str, Any]
) -> None:
    here = reader.post(on=on, **arguments)
    there = client.post(on=on, codec=codec, **arguments)

    assert there.model_dump() == here.model_dump()


def test_a_typed_client_has_the_same_methods(url: str) -> None:
    with Reader.at(url) as client:
        assert client.read(doc=Image(value=b"abc"), min_score=1).value == "3 bytes over 1.0"


SAMPLES = "bytes,aware datetime,decimal,mixed enum,dict by uuid,plain model,root model,set of models,any,tensor".split(
    ","
)


@pytest.mark.parametrize("case", [case for case in cases.CASES if case.name in SAMPLES], ids=lambda case: case.name)
def test_values_come_back_as_they_were(case: cases.Case) -> None:
    values = {repr(value): value for value in _samples(case)}
    with cases.echo(case.annotation)() as served, type(served).at(served.start(HERE)[0]) as client:
        for value in values.values():
            for codec in ("json", "msgpack"):
                assert cases.same(client.post(on="echo", value=value, codec=codec), value)


def _samples(case: cases.Case) -> list[Any]:
    found: list[Any] = []

    @settings(max_examples=3, database=None, phases=[Phase.generate], derandomize=True)
    @given(case.values)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def test_metadata_goes_both_ways(client: Any) -> None:
    found = client.post(on="said", name="x-tenant", metadata={"X-Tenant": "blue"})

    assert found.value == "blue"


def test_an_error_is_the_same_as_in_process(reader: Reader, client: Any, codec: str) -> None:
    wrong: list[tuple[str, dict[str, Any], type[XooaiError]]] = [
        ("busy", {"doc": Text(value="x")}, ResourceExhausted),
        ("read", {"doc": Image(ref="/etc/hostname-that-is-not")}, XooaiError),
        ("read", {"doc": Image(value=b"x"), "min_score": "high"}, InvalidArgument),
    ]
    for on, arguments, kind in wrong:
        raised = []
        for place in (reader, client):
            with pytest.raises(kind) as caught:
                place.post(on=on, codec=codec, **arguments)
            raised.append(caught.value)
        assert type(raised[0]) is type(raised[1])
        assert raised[0].details == raised[1].details


def test_an_unexpected_error_tells_its_number_only(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(Internal) as raised:
        client.post(on="broken", doc=Text(value="x"))
    assert "hunter2" not in repr(raised.value.details) + raised.value.message
    assert raised.value.id
    assert raised.value.id in caplog.text
    assert "hunter2" in caplog.text


def test_an_unknown_endpoint_lists_the_known_ones(url: str) -> None:
    class Writer(Executor):
        @post
        def write(self, doc: Text) -> Text:
            return doc

    with Writer.at(url) as client, pytest.raises(NotFound, match="no endpoint 'writer/write'.*reader/read"):
        client.write(doc=Text(value="x"))


def test_a_unary_stub_that_says_so_is_refused_at_once_by_an_endpoint_that_streams(reader: Reader, url: str) -> None:
    """One that does not is taken for a stub of a stream, which is the same to a server."""
    with grpc.insecure_channel(url.partition("//")[2]) as channel:
        calling: Any = channel.unary_unary("/reader/letters")
        stub: Any = channel.unary_stream("/reader/letters")
        with pytest.raises(grpc.RpcError) as raised:
            calling(b'{"text": "ab"}', metadata=(("xooai-shape", "unary"),), timeout=PATIENCE)

        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(raised.value.details()).startswith("letters takes one request and a stream of replies; the call has")
        assert list(stub(b'{"text": "ab"}', timeout=PATIENCE)) == [b'"a"', b'"b"']


def test_an_unknown_codec_lists_the_known_ones(url: str) -> None:
    """Also to those who are not ours."""
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(url.partition("://")[2]) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary("/reader/wait")(b"{}", metadata=(("xooai-codec", "yaml"),), timeout=5)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "application/json, application/msgpack" in raised.value.details()
    with Reader.at(url) as client, pytest.raises(Unimplemented, match="known are: application/json"):
        client.post(on="wait", codec="yaml")


def test_a_call_has_its_time(reader: Reader, client: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        client.post(on="wait", timeout=0.3)
    assert reader.cancelled.wait(0.5)


def test_a_caller_that_leaves_cancels_its_handler(reader: Reader, url: str) -> None:

    async def leave() -> None:
        async with asyncio.timeout(5):
            async with Reader.at(url) as client:
                calling = asyncio.create_task(client.apost(on="wait"))
                await asyncio.to_thread(reader.started.wait, 5)
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
                assert await asyncio.to_thread(reader.cancelled.wait, 0.5)

    asyncio.run(leave())


def test_a_server_that_has_ended_is_unavailable(reader: Reader, url: str) -> None:
    with Reader.at(url) as client:
        client.read(doc=Image(value=b"abc"))
        reader.stop()
        with pytest.raises(Unavailable, match=f"cannot connect to {url[7:]}"):
            client.read(doc=Image(value=b"abc"))


def test_one_executor_answers_at_several_urls() -> None:
    with Reader() as reader:
        for url in reader.start("http://127.0.0.1:0", HERE, HERE):
            with Reader.at(url) as client:
                assert client.read(doc=Image(value=b"abc")).value == "3 bytes over 0.5"


def test_calls_from_many_threads_share_a_client(url: str) -> None:
    with Reader.at(url) as client:
        found: list[str | None] = []

        def ask(size: int) -> None:
            found.append(client.read(doc=Image(value=bytes(size))).value)

        threads = [threading.Thread(target=ask, args=(size,)) for size in range(1, 17)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(str, found)) == sorted(f"{size} bytes over 0.5" for size in range(1, 17))


# The plugin.


def test_both_schemes_are_served_by_this_driver() -> None:
    ours = [Plugin("xooai.drivers", scheme, "xooai_grpc.plugin", "xooai") for scheme in ("grpc", "grpcs")]
    assert [plugin for plugin in installed() if plugin.module.startswith("xooai_grpc")] == ours
    for scheme in ("grpc", "grpcs"):
        assert type(driver(scheme)).__module__ == "xooai_grpc.driver"


@pytest.mark.parametrize("module", ["grpc", "grpc_health"])
def test_a_missing_extra_says_how_to_get_it(module: str) -> None:
    """As if the packages of the extra were not there."""
    program = (
        f"import sys\nsys.modules[{module!r}] = None\n"
        "from xooai import Executor\n"
        "try:\n    Executor('grpc://127.0.0.1:1/x').post(on='y')\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == f"PluginError grpc:// needs the module {module!r}; try: pip install 'xooai[grpc]'\n"


def test_a_client_does_not_load_the_servers_side() -> None:
    program = (
        "import sys\nfrom xooai import Executor\n"
        "try:\n    Executor('grpc://127.0.0.1:1/x').post(on='y')\n"
        "except ConnectionError:\n    pass\n"
        "print([name for name in sys.modules if name in ('google.protobuf', 'xooai_grpc.listener', 'grpc_health.v1')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
