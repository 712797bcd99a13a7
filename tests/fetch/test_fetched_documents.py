"""Documents whose refs are URLs, sent to a server: read where its operator has switched that on, by the guarded fetcher."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

pytest.importorskip("h11")
pytest.importorskip("idna")
pytest.importorskip("uvicorn")

from xooai import DataLoss, Executor, File, InvalidArgument, PermissionDenied, Text, post

CONTENT = b"what is there" * 1000
SIGNATURE = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Origin(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("XOOAI_FETCH", raising=False)
    Origin.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a.bin"
        server.shutdown()
        thread.join()


@pytest.fixture
def switched_on(origin: str, monkeypatch: pytest.MonkeyPatch) -> str:
    port = int(origin.rpartition(":")[2].partition("/")[0])
    policy = {"hosts": ["127.0.0.1"], "networks": ["127.0.0.0/8"], "ports": [port]}
    monkeypatch.setenv("XOOAI_FETCH", json.dumps(policy))
    return origin


class Sums(Executor):
    @post
    def read(self, doc: File) -> Text:
        return Text(value=hashlib.sha256(doc.read()).hexdigest())

    @post
    async def aread(self, doc: File) -> Text:
        return Text(value=hashlib.sha256(await doc.aread()).hexdigest())

    @post
    def part(self, doc: File) -> Text:
        with doc.open() as file:
            file.seek(5)
            return Text(value=file.read(2).decode())

    @post
    def path(self, doc: File) -> int:
        return doc.path().stat().st_size


class Client(NamedTuple):
    url: str
    sums: Sums

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sums, name)


@pytest.fixture
def sums() -> Iterator[Client]:
    with Sums() as serving:
        url = serving.start("http://127.0.0.1:0")[0]
        with Sums.at(url) as client:
            yield Client(url, client)


def test_a_url_is_read_by_each_way_where_the_operator_lets_it_be(sums: Client, switched_on: str) -> None:
    wanted, doc = SIGNATURE.partition(":")[2], File(ref=switched_on)

    assert (sums.read(doc=doc).value, sums.post("aread", doc=doc).value) == (wanted, wanted)
    assert (sums.part(doc=doc).value, sums.path(doc=doc)) == (CONTENT[5:7].decode(), len(CONTENT))


def test_no_url_is_read_where_nobody_has_switched_that_on(sums: Client, origin: str) -> None:
    with pytest.raises(PermissionDenied, match="came from a peer and is not opened here"):
        sums.read(doc=File(ref=origin))
    assert Origin.asked == 0


def test_hosts_that_the_operator_does_not_name_are_refused(sums: Client, switched_on: str) -> None:
    with pytest.raises(PermissionDenied, match="its host is not among those allowed"):
        sums.read(doc=File(ref=switched_on.replace("127.0.0.1", "localhost")))
    assert Origin.asked == 0


@pytest.mark.parametrize(
    "ref", ["file:///etc/passwd", "/etc/passwd", "ftp://127.0.0.1/a", "zip://a::http://127.0.0.1/a", "s3://a/b"]
)
def test_what_is_no_url_of_the_web_is_opened_as_little_as_ever(sums: Client, switched_on: str, ref: str) -> None:
    body = json.dumps({"doc": {"ref": ref}}).encode()
    request = urllib.request.Request(f"{sums.url}/sums/read", body, {"content-type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as answer:
        assert (answer.code, "came from a peer and is not opened here" in answer.read().decode()) == (403, True)


def test_a_content_whose_signature_is_told_is_verified_and_asked_for_once(sums: Client, switched_on: str) -> None:
    doc = File(ref=switched_on, signature=SIGNATURE)

    assert {sums.read(doc=doc).value for _ in range(3)} == {SIGNATURE.partition(":")[2]}
    assert Origin.asked == 1
    with pytest.raises(DataLoss):
        sums.read(doc=File(ref=switched_on, signature=f"sha256:{'0' * 64}"))


def test_a_url_gives_nothing_that_only_the_cache_has(sums: Client, switched_on: str, tmp_path: Path) -> None:
    """What one caller has sent is in the cache; another one, who knows its signature, does not get it by a URL."""
    secret = os.urandom(300_000)
    (tmp_path / "secret").write_bytes(secret)
    signature = f"sha256:{hashlib.sha256(secret).hexdigest()}"
    assert f"sha256:{sums.read(doc=File(ref=str(tmp_path / 'secret'))).value}" == signature
    for endpoint in ("read", "aread", "part", "path"):
        with pytest.raises(DataLoss):
            sums.post(endpoint, doc=File(ref=switched_on, signature=signature))


def test_a_size_that_is_told_wrongly_is_data_loss(sums: Client, switched_on: str) -> None:
    for ask in (sums.read, sums.path):
        with pytest.raises(DataLoss, match="size says 3"):
            ask(doc=File(ref=switched_on, size=3))


def test_a_policy_that_cannot_be_read_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from xooai.fetch import switched_on

    monkeypatch.setenv("XOOAI_FETCH", '{"hosts": ["a"], "host": 1}')
    with pytest.raises(InvalidArgument, match="XOOAI_FETCH is no policy: .*unknown field `host`"):
        switched_on()
    monkeypatch.setenv("XOOAI_FETCH", "a.example, *.b.example")
    policy = switched_on()
    assert policy is not None
    assert policy.hosts == {"a.example", "*.b.example"}
