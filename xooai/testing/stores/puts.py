"""What is put is there: of any size and origin, once, as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from xooai.content import FileContent, MemoryContent
from xooai.store import CHUNK
from xooai.testing.alone import on_a_loop
from xooai.testing.stores.fixtures import Fixtures, Gated, Once, Open, bytes_of, got, is_there

__all__ = ["PutTests"]


class Crumbs(MemoryContent):
    """A content in small chunks, empty ones among them."""

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        for place in range(start, self.size if end is None else end, 1000):
            yield b""
            yield bytes(self._data[place : place + 1000])


class PutTests(Fixtures):
    """Puts that go well."""

    @pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
    @on_a_loop
    async def test_what_is_put_is_got(self, open_store: Open, size: int) -> None:
        content = MemoryContent(bytes_of(size))
        async with aclosing(open_store()) as store:
            await store.put(content)

            assert await got(store, content.signature) == bytes_of(size)

    @pytest.mark.parametrize("durable", [False, True])
    @on_a_loop
    async def test_what_is_large_is_got_as_it_was_put(self, open_store: Open, durable: bool) -> None:
        content = MemoryContent(bytes_of(self.large))
        async with aclosing(open_store()) as store:
            await store.put(content, durable=durable)
            await store.put(content, durable=durable)

            assert await got(store, content.signature) == bytes_of(self.large)

    @on_a_loop
    async def test_a_file_is_put_as_bytes_are(self, open_store: Open, tmp_path: Path) -> None:
        file = tmp_path / "given"
        file.write_bytes(bytes_of(self.large))
        async with aclosing(open_store()) as store:
            content = await FileContent.of(file)
            await store.put(content)

            assert await got(store, content.signature) == bytes_of(self.large)

    @on_a_loop
    async def test_small_chunks_are_put_together(self, open_store: Open) -> None:
        content = Crumbs(bytes_of(2 * CHUNK + 5))
        async with aclosing(open_store()) as store:
            await store.put(content)

            assert await got(store, content.signature) == bytes_of(2 * CHUNK + 5)

    @on_a_loop
    async def test_what_is_there_is_not_read_again(self, open_store: Open) -> None:
        first, second = Once(bytes_of(100_000)), Once(bytes_of(100_000))
        async with aclosing(open_store()) as store, aclosing(open_store()) as other:
            await store.put(first)
            await store.put(second)
            await other.put(second, durable=True)

            assert (first.reads, second.reads) == (1, 0)

    @on_a_loop
    async def test_what_one_puts_another_gets(self, open_store: Open) -> None:
        content = MemoryContent(bytes_of(1000))
        async with aclosing(open_store()) as store:
            await store.put(content)
        async with aclosing(open_store()) as other:
            assert await got(other, content.signature) == bytes_of(1000)

    @on_a_loop
    async def test_many_put_the_same_at_once(self, open_store: Open) -> None:
        data = bytes_of(self.large)
        async with aclosing(open_store()) as store, aclosing(open_store()) as other:
            async with asyncio.TaskGroup() as group:
                for putting in (store, other, store):
                    group.create_task(putting.put(MemoryContent(data)))

            assert await got(store, MemoryContent(data).signature) == data

    @on_a_loop
    async def test_many_contents_are_put_and_got_at_once(self, open_store: Open) -> None:
        contents = [MemoryContent(bytes_of(50_000 + seed, seed)) for seed in range(16)]
        async with aclosing(open_store()) as store:
            async with asyncio.TaskGroup() as group:
                for content in contents:
                    group.create_task(store.put(content))
            found = await asyncio.gather(*(got(store, content.signature) for content in contents))

        assert found == [bytes_of(50_000 + seed, seed) for seed in range(16)]

    @on_a_loop
    async def test_nobody_sees_a_content_before_it_is_complete(self, open_store: Open) -> None:
        content = Gated(bytes_of(self.large))
        async with aclosing(open_store()) as store, aclosing(open_store()) as other:
            putting = asyncio.ensure_future(store.put(content))
            await content.reach(putting)
            assert not await is_there(other, content.signature)
            content.released.set()
            await putting

            assert await is_there(other, content.signature)

    @on_a_loop
    async def test_a_store_is_closed_as_often_as_one_likes(self, open_store: Open) -> None:
        store = open_store()
        await store.put(MemoryContent(b"x"))

        await store.aclose()
        await store.aclose()
