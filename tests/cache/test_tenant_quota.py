"""What one caller has at a server is bounded: its own oldest contents make way, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xooai.cache import Cache
from xooai.cache.folder import Folder
from xooai.call import Call, entered
from xooai.content import MemoryContent
from xooai.driver import Head
from xooai.embedded import Keeper, endpoints
from xooai.embedded.endpoints import Given, Offered
from xooai.embedded.grants import Grants
from xooai.embedded.rows import Row, quota
from xooai.errors import InvalidArgument, NotFound, ResourceExhausted
from xooai.memory import MemoryChannel
from xooai.store import Content

pytest.importorskip("xooai_fsspec")

KIB = 1024
SIZE = 100 * KIB
FITS = 4  # contents of this size in the quota of a tenant


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XOOAI_CACHE_LIMIT", str(20 * SIZE))
    monkeypatch.setenv("XOOAI_TENANT_LIMIT", str(FITS * SIZE))
    return tmp_path / "cache"


def contents(number: int, size: int = SIZE) -> list[MemoryContent]:
    return [MemoryContent(bytes([place]) * size) for place in range(number)]


class Caller:
    """A tenant of a keeper."""

    def __init__(self, keeper: Keeper, name: str) -> None:
        self._keeper, self._name = keeper, name

    async def send(self, content: Content, most: int | None = None) -> Given:
        """Send a content, or not more than so much of it."""

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in content.read(0, most):
                yield chunk

        self._enter()
        return await self._keeper.upload(content.signature, content.size, 0, chunks())

    async def has(self, content: Content) -> bool:
        """Whether the content would not have to be sent."""
        self._enter()
        (given,) = await self._keeper.offer([Offered(signature=content.signature, size=content.size)])
        return given.ref is not None

    async def given(self, content: Content) -> str:
        """Be given a reply with this content."""
        return await self._keeper.put(self._name, content)

    async def reads(self, ref: str) -> bytes:
        self._enter()
        return b"".join([chunk async for chunk in self._keeper.download(ref)])

    def _enter(self) -> None:
        entered.set(Call(endpoints.upload(), MemoryChannel(Head("/xooai/upload", identity=self._name), b"")))


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def test_a_callers_oldest_contents_make_way_and_no_other_callers(folder: Path) -> None:
    async def scene() -> None:
        keeper, cache = Keeper(), Cache()
        one, two = Caller(keeper, "one"), Caller(keeper, "two")
        shared, *own = contents(2 * FITS)
        await two.send(shared)
        for content in (shared, *own):
            await one.send(content)

        assert [await one.has(content) for content in own] == [False] * (FITS - 1) + [True] * FITS
        assert not await one.has(shared)
        assert await two.has(shared)
        assert await cache.find(own[0].signature) is None, "nobody has it, so it takes no room"
        await cache.aclose()
        await keeper.aclose()

    run(scene())


def test_a_content_larger_than_its_callers_part_is_refused_before_it_comes(folder: Path) -> None:
    class Unread(MemoryContent):
        def read(self, start: int = 0, end: int | None = None) -> Any:
            raise AssertionError("it is not read")

    async def scene() -> None:
        keeper = Keeper()
        one = Caller(keeper, "one")
        with pytest.raises(ResourceExhausted, match="has 413,696 bytes, the limit is 409,600") as refused:
            await one.send(Unread(bytes(FITS * SIZE + 4096)))
        assert refused.value.reason == "size"
        with pytest.raises(ResourceExhausted) as refused:
            await one.given(Unread(bytes(FITS * SIZE + 1)))
        assert refused.value.reason == "size"
        assert (await one.send(MemoryContent(bytes(FITS * SIZE)))).ref
        await keeper.aclose()

    run(scene())


def test_what_is_on_its_way_counts(folder: Path) -> None:
    async def scene() -> None:
        keeper = Keeper()
        one, two = Caller(keeper, "one"), Caller(keeper, "two")
        first, second, third = contents(3, 3 * SIZE)
        coming, has_begun = asyncio.Event(), asyncio.Event()

        class Slow(MemoryContent):
            async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
                async for chunk in super().read(start, end):
                    yield chunk[:SIZE]
                    has_begun.set()
                    await coming.wait()
                    yield chunk[SIZE:]

        sending = asyncio.create_task(one.send(Slow(bytes(3 * SIZE))))
        await has_begun.wait()
        with pytest.raises(ResourceExhausted, match="with what is on its way") as refused:
            await one.send(first)
        assert refused.value.reason == "load"
        assert (await two.send(second)).ref
        coming.set()
        assert (await sending).ref
        assert (await one.send(first)).ref
        assert (await one.send(third, SIZE)).place == SIZE
        assert (await one.send(second)).ref, "what only waits for its rest gives way"
        assert not await one.has(first)
        await keeper.aclose()

    run(scene())


def test_replies_count_and_are_read_by_their_grant_alone(folder: Path) -> None:
    async def scene() -> None:
        keeper = Keeper()
        one = Caller(keeper, "one")
        all_ = contents(FITS + 1)
        refs = [await one.given(content) for content in all_]

        with pytest.raises(NotFound):
            await one.reads(refs[0])
        assert await one.reads(refs[1]) == bytes([1]) * SIZE
        with pytest.raises(NotFound):
            await one.reads(refs[1].partition("?")[0])
        assert not await one.has(all_[1])
        assert (await one.send(all_[1])).ref
        await one.given(all_[1])
        assert await one.has(all_[1]), "what was sent stays so"
        await keeper.aclose()

    run(scene())


@pytest.mark.parametrize("found", ["", "1 1 1", None])
def test_a_count_that_is_broken_or_missing_is_made_anew(folder: Path, found: str | None) -> None:
    async def scene() -> None:
        keeper = Keeper()
        one = Caller(keeper, "one")
        first, *others, last = contents(FITS + 1)
        for content in (first, *others):
            await one.send(content)
        (count,) = (folder / "server" / "held").iterdir()
        assert count.read_text() == f"{FITS * SIZE} {FITS}\n"
        if found is None:
            count.unlink()
        else:
            count.write_text(found)
        await Caller(Keeper(), "one").send(last)  # another process
        assert [await one.has(content) for content in (first, *others, last)] == [False] + [True] * FITS
        assert count.read_text() == f"{FITS * SIZE} {FITS}\n"
        await keeper.aclose()

    run(scene())


def test_of_small_contents_some_more_make_way_than_have_to(folder: Path) -> None:
    async def scene() -> None:
        keeper = Keeper()
        one = Caller(keeper, "one")
        small = contents(FITS * SIZE // (10 * KIB) + 1, 10 * KIB)  # on a disk each takes 12 KiB
        for content in small:
            await one.send(content)
        here = [await one.has(content) for content in small]
        assert here == sorted(here), "the oldest have gone"
        (count,) = (folder / "server" / "held").iterdir()
        assert count.read_text() == f"{sum(here) * 12 * KIB} {sum(here)}\n"
        assert 3 / 4 * FITS * SIZE < sum(here) * 12 * KIB <= FITS * SIZE
        await keeper.aclose()

    run(scene())


def test_what_a_power_cut_left_of_a_row_permits_nothing(folder: Path) -> None:
    async def scene() -> None:
        keeper = Keeper()
        one = Caller(keeper, "one")
        (content,) = contents(1)
        await one.send(content)
        (row,) = (folder / "server" / "tenants").glob("*/*")
        row.write_bytes(b"")
        assert not await one.has(content)
        assert (await one.send(content)).ref
        assert await one.has(content)
        await keeper.aclose()

    run(scene())


def test_without_a_limit_a_callers_part_is_half_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XOOAI_TENANT_LIMIT", raising=False)
    assert quota("a", 1000) == 500
    assert quota("", 1000) == 1000  # all who have no certificate are one caller, and the only one
    monkeypatch.setenv("XOOAI_TENANT_LIMIT", "1KiB")
    assert quota("", 10_000) == quota("a", 10_000) == 1024
    assert quota("a", 1000) == 1000
    monkeypatch.setenv("XOOAI_TENANT_LIMIT", "some")
    with pytest.raises(InvalidArgument, match="XOOAI_TENANT_LIMIT is 'some'; it is a number of bytes"):
        quota("a", 1000)


def test_a_row_that_is_written_once_more_permits_all_the_while(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "cache"))
    folder.make()
    grants, signature, row = Grants(folder), contents(1)[0].signature, Row(SIZE, is_sent=True)
    grants.add("one", signature, row, 10 * SIZE)
    with ThreadPoolExecutor(1) as thread:
        adding = thread.submit(lambda: [grants.add("one", signature, row, 10 * SIZE) for _ in range(500)])
        looks = [grants.permits("one", signature, "")]
        while not adding.done():
            looks.append(grants.permits("one", signature, ""))
        adding.result()
    assert all(looks)
