"""Puts into a bucket where something stands in the way: what is acknowledged is there, as a whole."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

pytest.importorskip("obstore", reason="no module 'obstore'; it comes with: pip install 'xooai[stores]'")
pytest.importorskip("moto.server", reason="no module 'moto'; it comes with: pip install -e '.[dev]'")

from store_proxy import Proxy, failing

from servers import ACCESS, SECRET, bucket, client
from xooai.content import MemoryContent, key_of
from xooai.errors import Unavailable
from xooai.plugins import open_store
from xooai.store import Store, StoreOptions
from xooai.testing.stores.fixtures import Gated, bytes_of, got

SMALL = MemoryContent(b"hello world")


@pytest.fixture
def name(endpoint: str) -> str:
    return bucket(endpoint)


def opened(endpoint: str, name: str, *, prefix: str = "some/prefix", **more: Any) -> Any:
    """A store that tries nothing again."""
    given = {"access_key_id": ACCESS, "secret_access_key": SECRET, "region": "us-east-1", "endpoint": endpoint}
    once = {"retry_config": {"max_retries": 0}}
    return open_store(f"s3://{name}/{prefix}", StoreOptions(storage_options={**given, **once, **more}))


AS_USUAL: dict[str, Any] = {"retry_config": {}}
"""For what has to be tried again: moto answers the end of an upload with 500, now and then, where a part comes at that moment."""


def plant(endpoint: str, name: str, content: MemoryContent, data: bytes) -> None:
    """Have other bytes where a content belongs."""
    client(endpoint).put_object(Bucket=name, Key=f"some/prefix/{key_of(content.signature)}", Body=data)


def run(work: Coroutine[Any, Any, Any], patience: float = 60) -> Any:
    return asyncio.run(asyncio.wait_for(work, patience))


async def put_and_got(store: Store, content: MemoryContent) -> bytes:
    async with aclosing(store):
        await store.put(content)
        return await got(store, content.signature)


@pytest.mark.parametrize("size", [11, 6 << 20], ids=["small", "large"])
def test_an_object_of_another_size_is_replaced(endpoint: str, name: str, size: int) -> None:
    content = MemoryContent(bytes_of(size))
    plant(endpoint, name, content, b"hell")

    assert run(put_and_got(opened(endpoint, name), content)) == bytes_of(size)


@pytest.mark.parametrize("status", ["409", "412"])
def test_a_refused_condition_is_not_taken_for_a_content_that_is_there(endpoint: str, name: str, status: str) -> None:
    """S3 answers 409 also to one of two that put at the same time, and what stands between may answer anything."""
    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(1, "PUT", status))
        assert run(put_and_got(opened(proxy.url, name), SMALL)) == b"hello world"


@pytest.mark.parametrize("status", ["409", "412"])
def test_a_put_that_is_always_refused_is_told(endpoint: str, name: str, status: str) -> None:
    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(-1, "PUT", status))
        with pytest.raises(Unavailable, match="the store 's3' does not work"):
            run(put_and_got(opened(proxy.url, name), SMALL))
    assert not re.search("hello", str(client(endpoint).list_objects_v2(Bucket=name)))


def test_a_server_that_knows_no_conditions_is_put_to_without(endpoint: str, name: str) -> None:
    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(1, "PUT", "501"))
        assert run(put_and_got(opened(proxy.url, name), SMALL)) == b"hello world"


def test_who_may_not_list_may_put(endpoint: str, name: str) -> None:
    """S3 tells who may not list nothing about what is not there."""
    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(1, "HEAD", "403"))
        assert run(put_and_got(opened(proxy.url, name), SMALL)) == b"hello world"


def test_a_copy_is_one_of_the_server_and_replaces_an_object_of_another_size(endpoint: str, name: str) -> None:
    plant(endpoint, name, SMALL, b"hell")

    async def copy(url: str) -> bytes:
        async with aclosing(opened(url, name)) as store, aclosing(opened(url, name, prefix="other")) as other:
            await other.put(SMALL)
            proxy.requests.clear()
            assert await store.copy_from(other, SMALL.signature)
            assert proxy.count("PUT") == 1
            assert not proxy.count("GET")
            return await got(store, SMALL.signature)

    with Proxy(endpoint) as proxy:
        assert run(copy(proxy.url)) == b"hello world"


class Overtaken(MemoryContent):
    """A content that somebody else has put when its own upload fails, which then gets more of it."""

    def __init__(self, data: bytes, proxy: Proxy, put_by_another: Callable[[MemoryContent], None]) -> None:
        super().__init__(data)
        self._proxy, self._put_by_another, self._is_overtaken = proxy, put_by_another, threading.Event()
        proxy.failures.append(self._fail)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async for chunk in super().read(0, 30 << 20):  # six parts, which are under way
            yield chunk
        await asyncio.to_thread(self._put_by_another, self)
        self._is_overtaken.set()
        async for chunk in super().read(30 << 20, 32 << 20):
            yield chunk
        while not self._proxy.count("DELETE .*uploadId"):  # noqa: ASYNC110 - a thread counts them
            await asyncio.sleep(0.01)
        async for chunk in super().read(32 << 20):
            yield chunk

    def _fail(self, method: str, path: str) -> str | None:
        if "partNumber" not in path:
            return None
        self._is_overtaken.wait(30)
        return "500"


def test_an_upload_that_fails_when_another_has_put_the_content_ends_well(endpoint: str, name: str) -> None:
    def put_by_another(content: MemoryContent) -> None:
        plant(endpoint, name, content, bytes(36 << 20))

    async def put(store: Store, content: MemoryContent) -> None:
        async with aclosing(store):
            await store.put(content)

    with Proxy(endpoint) as proxy:
        run(put(opened(proxy.url, name), Overtaken(bytes(36 << 20), proxy, put_by_another)))


async def reached_its_middle(store: Store, content: Gated, endpoint: str, name: str) -> asyncio.Future[None]:
    """A put with an upload that the server knows of."""
    putting = asyncio.ensure_future(store.put(content))
    await content.reach(putting)
    while not await asyncio.to_thread(uploads, endpoint, name):  # noqa: ASYNC110 - a server knows it
        await asyncio.sleep(0.01)
    return putting


def uploads(endpoint: str, name: str) -> list[Any]:
    """The uploads that were begun and not ended."""
    found: list[Any] = client(endpoint).list_multipart_uploads(Bucket=name).get("Uploads", [])
    return found


def test_a_loop_that_ends_in_the_middle_of_a_put_leaves_no_parts(endpoint: str, name: str) -> None:
    async def leave() -> None:
        await reached_its_middle(opened(endpoint, name, **AS_USUAL), Gated(bytes_of(24 << 20)), endpoint, name)

    run(leave())

    assert uploads(endpoint, name) == []


def test_a_store_that_is_closed_ends_what_is_put(endpoint: str, name: str) -> None:
    async def close() -> None:
        store, content = opened(endpoint, name, **AS_USUAL), Gated(bytes_of(24 << 20))
        putting = await reached_its_middle(store, content, endpoint, name)
        await store.aclose()
        content.released.set()
        assert await asyncio.to_thread(uploads, endpoint, name) == []
        with pytest.raises(Unavailable, match="the store 's3' has been closed"):
            await putting

    run(close())


@pytest.mark.slow
def test_a_put_that_makes_progress_slowly_is_not_given_up(endpoint: str, name: str) -> None:
    """A part of 5 MB needs longer here than a server may be silent while something is read."""
    data = bytes_of(5_000_000)
    with Proxy(endpoint) as proxy:
        proxy.rate = 125_000
        assert run(put_and_got(opened(proxy.url, name), MemoryContent(data)), 90) == data
