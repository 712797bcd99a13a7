"""A folder of a web server as a store: what a directory holds is got, and nothing is put."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="no module 'obstore'; it comes with: pip install 'xooai[stores]'")

from xooai.content import MemoryContent
from xooai.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from xooai.plugins import open_store
from xooai.store import Deletes, Sizes, Store, StoreOptions
from xooai.testing.stores.fixtures import bytes_of, got

CONTENT, EMPTY, MISSING = MemoryContent(bytes_of(3_000_000)), MemoryContent(b""), MemoryContent(b"nobody has put this")
SECRET = "some-secret-that-nobody-may-see"


class Serving(SimpleHTTPRequestHandler):
    """A web server that asks who is there, and has no ranges."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> Any:
        if self.headers["authorization"] != SECRET:
            self.send_error(403)
            return None
        return super().send_head()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        try:
            super().copyfile(source, outputfile)
        except OSError:
            self.close_connection = True  # who asked has left

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    directory = open_store(str(tmp_path / "store"))
    for content in (CONTENT, EMPTY):
        asyncio.run(directory.put(content))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Serving, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/store"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def opened(url: str, secret: str = SECRET) -> Iterator[Store]:
    client = {"default_headers": {"authorization": secret}}
    options = StoreOptions(storage_options={"client_options": client, "retry_config": {"max_retries": 0}})
    store = open_store(url, options)
    yield store
    asyncio.run(store.aclose())


def test_what_is_served_is_got(url: str) -> None:
    with opened(url) as store:
        assert isinstance(store, Sizes)
        assert asyncio.run(got(store, CONTENT.signature)) == bytes_of(3_000_000)
        assert asyncio.run(got(store, EMPTY.signature)) == b""
        assert asyncio.run(store.size(CONTENT.signature)) == 3_000_000
        assert asyncio.run(store.size(MISSING.signature)) is None
        with pytest.raises(NotFound):
            asyncio.run(got(store, MISSING.signature))
    assert (store.name, store.url) == ("http", url)


def test_nothing_is_put_or_deleted(url: str) -> None:
    with opened(url) as store:
        asyncio.run(store.put(CONTENT))  # is there
        with pytest.raises(PermissionDenied, match="only read"):
            asyncio.run(store.put(MISSING))
    assert not isinstance(store, Deletes)


def test_a_server_without_ranges_is_told_and_never_taken_for_one(url: str) -> None:
    with opened(url) as store, pytest.raises(Unavailable):
        asyncio.run(got(store, CONTENT.signature, 5, 10))


def test_a_refusal_is_told_without_the_secret(url: str) -> None:
    with opened(url, "wrong-secret") as store, pytest.raises(PermissionDenied) as raised:
        asyncio.run(got(store, CONTENT.signature))
    assert "wrong-secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://", "http://user:password@host/x", "http://host/x?token=y"])
def test_what_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        open_store(url)
    assert "password" not in str(raised.value)
