"""A Flow is an endpoint: called, served over every driver, described, and a node of another Flow."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import xooai
from authority import HERE, Authority
from xooai import Executor, FailedPrecondition, Flow, Image, InvalidArgument, NotFound, Text, post

DOC = Text(value="Hi")

PICTURE = """
                 +------+
             +-> |  e1  | --+
+--------+   |   +------+   |   +------+    +--------+
|  flow  | --+              +-> |  e3  | -> |  flow  |
+--------+   |   +------+   |   +------+    +--------+
             +-> |  e2  | --+
                 +------+
"""
"""Of the example of the design: two nodes elsewhere side by side, and one here that needs both."""


class Words(Executor):
    @post
    async def upper(self, doc: Text, mark: str = "") -> Text:
        return Text(value=doc.read().upper() + mark)

    @post
    def lower(self, doc: Text) -> Text:
        return Text(value=doc.read().lower())

    @post
    async def count(self, doc: Text) -> int:
        return len(doc.read())


def words(name: str | None = None) -> Flow:
    f = Flow(name=name).add(use=Words, on="upper", id="up").add(use=Words, on="lower", id="low", needs="up")
    return f.add(use=Words, on="count", id="count", needs="up")


@pytest.fixture(params=["http://127.0.0.1:0", "grpc://127.0.0.1:0", "quic://127.0.0.1:0", "memory://served"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    """A client of a served Flow that knows nothing of it but the URL."""
    with ExitStack() as stack:
        f = stack.enter_context(words("words"))
        trust: str | None = None
        certificate: dict[str, str] = {}
        if request.param.startswith("quic"):
            pytest.importorskip("aioquic", reason="serving needs aioquic; it comes with: pip install -e '.[quic]'")
            authority = Authority(tmp_path)
            pair, trust = authority.signs("here", HERE), str(authority.trust)
            certificate = {"certificate": str(pair.certificate), "key": str(pair.key)}
        (url,) = f.start(request.param, **certificate)  # type: ignore[arg-type]
        yield stack.enter_context(Executor.at(f"{url}/words", trust=trust))


def test_a_flow_is_served_as_an_executor_with_one_endpoint(client: Executor) -> None:
    for on in (None, "call"):
        assert client.post(on, doc=DOC, mark="!") == {"low": Text(value="hi!"), "count": 3}
    with pytest.raises(NotFound, match="words has: call"):
        client.post(on="read", doc=DOC)
    with pytest.raises(InvalidArgument, match="call needs the parameter 'doc'"):
        client.post(mark="!")
    with pytest.raises(InvalidArgument):
        client.post(doc=Image(value=b"x"))


def test_a_flow_is_called_in_process_by_its_endpoints_name_too() -> None:
    with words() as f:
        assert f.post(on="call", doc=DOC) == f.post(doc=DOC) == f(doc=DOC)
        with pytest.raises(NotFound, match="no endpoint 'read'; flow has: call"):
            f.post(on="read", doc=DOC)
        with pytest.raises(InvalidArgument, match="use post"):
            f.stream(doc=DOC)


def test_the_example_of_the_design_runs_with_live_servers(serve: Callable[[Any], str], tmp_path: Path) -> None:
    class Reader(Executor):
        @post
        def read(self, doc: Image, min_score: float = 0.5) -> Text:
            return Text(value=f"{len(doc.read())} bytes above {min_score}")

    class Echo(Executor):
        @post
        def echo(self, doc: Image) -> Image:
            return doc

    (tmp_path / "233.jpg").write_bytes(b"picture")
    yours, hers = serve(Echo(name="your_executor")), serve(Echo(name="her_executor"))

    f = Flow()
    f.add(use=f"{yours}/echo", id="e1")
    f.add(use=f"{hers}/echo", id="e2")
    f.add(use=Reader, on="read", id="e3", needs=("e1", "e2"))
    with f:
        res = f.post(doc=Image(ref=str(tmp_path / "233.jpg")))

        assert res.read() == "7 bytes above 0.5"
        assert [warning.partition(":")[0] for warning in f.check()] == ["e2's result is ignored"]
        assert str(f) == PICTURE.strip("\n")


def test_a_flow_is_a_node_of_another_in_process_and_elsewhere(serve: Callable[[Any], str]) -> None:
    f = Flow(name="loud").add(use=Words, on="upper")
    url = serve(Flow(name="quiet").add(use=Words, on="lower"))

    with f, Flow().add(use=f).add(use=f"{url}/call", id="far", needs="loud/call") as outer:
        assert outer.post(doc=Text(value="Hi"), mark="A").read() == "hia"


def test_several_flows_and_executors_are_served_together() -> None:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    program = """
        from xooai import Executor, Flow, Text, post, serve
        class Echo(Executor):
            @post
            def echo(self, doc: Text) -> Text:
                return doc
        serve(Echo(), Flow(name="twice").add(use=Echo, id="a").add(use=Echo, id="b", needs="a"), at="http://127.0.0.1:0")
    """
    server = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1]
        for path in ("echo", "twice"):
            with Executor(f"{url}/{path}") as client:
                assert client.post(doc=DOC) == DOC
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()
    assert server.returncode == 0


def test_a_flow_is_described_as_what_it_takes_and_gives(serve: Callable[[Any], str]) -> None:
    url = urlsplit(serve(words("words")))
    connection = http.client.HTTPConnection(url.netloc)
    try:
        connection.request("GET", "/openapi.json")
        described = json.loads(connection.getresponse().read())
    finally:
        connection.close()

    body = described["paths"]["/words/call"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["doc"]
    assert body["properties"].keys() == {"doc", "mark"}
    answer = described["paths"]["/words/call"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    named = described["components"]["schemas"]
    schema = named[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
    assert schema["properties"]["count"]["type"] == "integer"
    assert schema["required"] == ["low", "count"]


def test_a_server_that_a_flow_needs_is_asked_before_it_serves(serve: Callable[[Any], str]) -> None:
    url = serve(Words())
    f = Flow(name="far").add(use=f"{url}/upper", id="a")

    with Executor(serve(f)) as client:
        assert client.post(doc=DOC).read() == "HI"
    with pytest.raises(FailedPrecondition, match="serves already"):
        f.start("http://127.0.0.1:0")


def test_a_flow_that_was_stopped_makes_its_executors_anew() -> None:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    made: list[str] = []

    class Model(Executor):
        def __init__(self) -> None:
            made.append("made")

        @post
        def echo(self, doc: Text) -> Text:
            return doc

        def close(self) -> None:
            made.append("closed")

    with Flow().add(use=Model) as f:
        f.start("http://127.0.0.1:0")
        assert made == ["made"]
        f.stop()
        assert made == ["made", "closed"]
        f.post(doc=DOC)
    assert made == ["made", "closed", "made", "closed"]


def test_a_start_that_serves_no_flow_loads_nothing_of_them() -> None:
    program = "import sys; from xooai import Executor, serve; print([name for name in sys.modules if 'flow' in name])"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"
    assert "Flow" in dir(xooai)
    assert Path(xooai.flow.__file__).parent.name == "flow"
