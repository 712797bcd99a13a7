"""Small contents that are read whole stay in memory, within a bound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cache_origins import Origin, mark_as_verified, object_of

from xooai.cache import Cache, FromStore
from xooai.cache.memory import EACH, LARGEST, Memory
from xooai.content import MemoryContent
from xooai.errors import DataLoss
from xooai.signature import sign
from xooai.testing.stores.fixtures import Broken, Once, bytes_of

SMALL, LARGE = bytes_of(LARGEST), bytes_of(LARGEST + 1)


def test_a_small_content_is_read_from_disk_once(tmp_path: Path) -> None:
    async def main() -> None:
        cache, origin = Cache(str(tmp_path / "cache")), Origin(SMALL, LARGE)
        for data in (SMALL, LARGE):
            assert await cache.read(FromStore(origin, sign(data))) == data
        (tmp_path / "cache").rename(tmp_path / "gone")
        for data in (SMALL, LARGE):
            assert await cache.read(FromStore(origin, sign(data))) == data
        assert origin.gets == 3
        assert cache.counts.hits == 1

    asyncio.run(main())


def test_a_small_content_that_a_disk_changed_by_itself_is_seen(tmp_path: Path) -> None:
    async def main() -> None:
        once = Once(SMALL)
        await Cache(str(tmp_path)).read(once)
        kept = object_of(tmp_path, once.signature)
        kept.write_bytes(SMALL[:-1] + b"x")
        mark_as_verified(tmp_path, once.signature)

        cache = Cache(str(tmp_path))
        assert await cache.read(once) == SMALL
        assert (cache.counts.corrupt, once.reads) == (1, 2)

    asyncio.run(main())


def test_a_size_that_is_not_the_contents_is_told_of_what_is_in_memory_too(tmp_path: Path) -> None:
    async def main() -> None:
        cache, wrong = Cache(str(tmp_path)), MemoryContent(SMALL)
        wrong.size += 1
        await cache.read(MemoryContent(SMALL))
        with pytest.raises(DataLoss, match="it should have"):
            await cache.read(wrong)

    asyncio.run(main())


def test_what_is_read_around_the_cache_is_right_or_told(tmp_path: Path) -> None:
    async def main() -> None:
        cache, once = Cache(str(tmp_path), limit=0), Once(SMALL)
        assert [await cache.read(once) for _ in range(2)] == [SMALL, SMALL]
        assert (once.reads, cache.counts.around) == (1, 1)
        for given in (LARGE[:-1] + b"x", LARGE[:-1], LARGE + b"x"):
            with pytest.raises(DataLoss):
                await cache.read(Broken(LARGE, given))

    asyncio.run(main())


def test_what_was_not_read_for_longest_leaves_the_memory_first() -> None:
    memory = Memory(3 * (1000 + EACH))
    contents = {str(number): bytes([number]) * 1000 for number in range(4)}
    for name in "012":
        memory.put(name, contents[name])
    assert memory.get("0") == contents["0"]
    memory.put("3", contents["3"])
    assert [name for name in contents if memory.get(name)] == ["0", "2", "3"]
    for number in range(1000):
        memory.put(f"empty {number}", b"")
    assert len(memory._held) == 3 * (1000 + EACH) // EACH
