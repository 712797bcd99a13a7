"""Puts into a bucket where something stands in the way: what is acknowledged is there, as a whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest

pytest.importorskip("obstore", reason="no module 'obstore'; it comes with: pip install 'xooai[stores]'")
pytest.importorskip("moto.server", reason="no module 'moto'; it comes with: pip install -e '.[dev]'")

from store_proxy import Proxy, failing

from servers import ACCESS, SECRET, bucket, client, moto
from xooai.content import MemoryContent, key_of
from xooai.errors import Unavailable
from xooai.plugins import open_store
from xooai.store import Store, StoreOptions
from xooai.testing.stores.fixtures import bytes_of, got

SMALL = MemoryContent(b"hello world")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def name(endpoint: str) -> str:
    return bucket(endpoint)


def opened(endpoint: str, name: str, **more: Any) -> Any:
    """A store that tries nothing again."""
    given = {"access_key_id": ACCESS, "secret_access_key": SECRET, "region": "us-east-1", "endpoint": endpoint}
    once = {"retry_config": {"max_retries": 0}}
    return open_store(f"s3://{name}/some/prefix", StoreOptions(storage_options={**given, **once, **more}))


def plant(endpoint: str, name: str, content: MemoryContent, data: bytes) -> None:
    """Have other bytes where a content belongs."""
    client(endpoint).put_object(Bucket=name, Key=f"some/prefix/{key_of(content.signature)}", Body=data)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


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
