"""What is got: chunks, ranges, readers side by side and readers that leave."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from xooai.content import MemoryContent
from xooai.store import CHUNK
from xooai.testing.alone import on_a_loop
from xooai.testing.stores.fixtures import Fixtures, Open, bytes_of, got

__all__ = ["GetTests"]

SIZE = 2 * CHUNK + 10  # of the content that ranges are got of


class GetTests(Fixtures):
    """Gets that go well."""

    @on_a_loop
    async def test_chunks_are_bytes_of_a_limited_size(self, open_store: Open) -> None:
        content = MemoryContent(bytes_of(self.large))
        async with aclosing(open_store()) as store:
            await store.put(content)
            async with aclosing(store.get(content.signature)) as chunks:
                found = [(type(chunk), len(chunk)) async for chunk in chunks]

        assert {kind for kind, _ in found} == {bytes}
        assert min(size for _, size in found) > 0
        assert max(size for _, size in found) <= CHUNK

    @on_a_loop
    async def test_a_range_is_that_of_a_slice(self, open_store: Open) -> None:
        content, data = MemoryContent(bytes_of(SIZE)), bytes_of(SIZE)
        ranges = [
            (0, 1), (0, SIZE), (1, None), (5, 5), (0, 0), (CHUNK - 1, CHUNK + 1), (CHUNK, None), (SIZE - 1, None),
            (SIZE - 1, SIZE), (3, SIZE + 100), (SIZE, None), (SIZE, SIZE + 1), (SIZE + 5, None), (SIZE + 5, SIZE + 9),
            (2**62, None),
        ]  # fmt: skip
        async with aclosing(open_store()) as store:
            await store.put(content)
            for start, end in ranges:
                assert await got(store, content.signature, start, end) == data[start:end], (start, end)

    @pytest.mark.parametrize(("start", "end"), [(0, None), (0, 1), (0, 0), (5, None)])
    @on_a_loop
    async def test_an_empty_content_has_empty_ranges(self, open_store: Open, start: int, end: int | None) -> None:
        content = MemoryContent(b"")
        async with aclosing(open_store()) as store:
            await store.put(content)

            assert await got(store, content.signature, start, end) == b""

    @on_a_loop
    async def test_a_reader_may_leave_and_others_read_on(self, open_store: Open) -> None:
        content = MemoryContent(bytes_of(self.large))
        async with aclosing(open_store()) as store:
            await store.put(content)
            async with aclosing(store.get(content.signature)) as staying:
                first = await anext(staying)
                async with aclosing(store.get(content.signature)) as leaving:
                    await anext(leaving)
                rest = b"".join([chunk async for chunk in staying])

        assert first + rest == bytes_of(self.large)

    @on_a_loop
    async def test_a_reader_that_has_not_begun_may_leave(self, open_store: Open) -> None:
        content = MemoryContent(b"x")
        async with aclosing(open_store()) as store:
            await store.put(content)
            async with aclosing(store.get(content.signature)):
                pass

            assert await got(store, content.signature) == b"x"
