"""What a server names in its replies: a handler that reads it is not given what another caller has sent here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from payload_naming import Naming

pytest.importorskip("uvicorn")

from xooai import Executor, File, NotFound, post

SECRET = b"what somebody else has sent " * 20_000
SIGNATURE = f"sha256:{hashlib.sha256(SECRET).hexdigest()}"


class Reader(Executor):
    @post
    def size(self, doc: File) -> int:
        return len(doc.read())

    @post
    def read(self, url: str) -> bytes:
        with Naming.at(url) as there:
            return bytes(there.named(signature=SIGNATURE, size=len(SECRET)).read())

    @post
    def look(self, url: str) -> bytes:
        with Naming.at(url) as there, there.named(signature=SIGNATURE, size=len(SECRET)).open() as file:
            return bytes(file.read())

    @post
    def through(self, url: str, path: str) -> list[bool]:
        with Naming.at(url) as there:
            return [there.give(path=path).read() == SECRET for _ in range(2)]


@pytest.fixture
def naming(tmp_path: Path) -> Iterator[str]:
    """The URL of another machine's server, as far as its cache is concerned."""
    command = [sys.executable, str(Path(__file__).with_name("payload_naming.py")), "http://127.0.0.1:0"]
    environment = {**os.environ, "XOOAI_CACHE": str(tmp_path / "elsewhere")}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A server that has what another caller has sent."""
    (tmp_path / "secret").write_bytes(SECRET)
    with Reader() as serving, Reader.at(serving.start("http://127.0.0.1:0")[0]) as client:
        assert client.size(doc=File(ref=str(tmp_path / "secret"))) == len(SECRET)
        yield client


@pytest.mark.parametrize("way", ["read", "look"])
def test_a_handler_is_not_given_what_a_server_only_knows_the_name_of(reader: Reader, naming: str, way: str) -> None:
    with pytest.raises(NotFound):
        reader.post(way, url=naming)


def test_what_a_server_does_have_is_read_though_somebody_has_sent_the_same(
    reader: Reader, naming: str, tmp_path: Path
) -> None:
    assert reader.through(url=naming, path=str(tmp_path / "secret")) == [True, True]
    assert reader.read(url=naming) == SECRET  # now it is known to have it
