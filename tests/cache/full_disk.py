"""A cache on a small disk that fills up: `full_disk.py FOLDER`. Says "done" at its end."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

from cache_origins import Origin, files_of, read

from xooai.cache import Cache
from xooai.content import MemoryContent
from xooai.signature import sign
from xooai.testing.stores.fixtures import bytes_of

MIB = 1 << 20


async def main(disk: Path) -> None:
    root, contents = disk / "cache", [bytes_of(MIB, seed) for seed in range(100)]
    cache, origin = Cache(str(root), limit=1 << 30), Origin(*contents)
    for data in contents:
        assert await read(cache, sign(data), origin) == data
    assert (origin.gets, cache.counts.around) == (100 + retried(cache), 0), (origin.gets, cache.counts)
    assert await read(cache, sign(contents[-1]), Origin()) == contents[-1]

    stuff(disk, cache)
    for data in contents[:20]:
        async with aclosing(cache.stream(MemoryContent(data))) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == data
    assert cache.counts.around == 20
    await cache.aclose()
    assert all(path.stat().st_size for path in files_of(root / "contents"))

    (disk / "stuffing").unlink()
    assert await read(cache, sign(contents[0]), origin) == contents[0]
    assert await read(cache, sign(contents[0]), Origin()) == contents[0]
    assert cache.counts.around == 20
    await cache.aclose()


def retried(cache: Cache) -> int:
    """Each content that had to wait until others were removed was read once more; all but the first few."""
    return cache.counts.evicted


def stuff(disk: Path, cache: Cache) -> None:
    """Fill what is left of the disk, after the cache is emptied."""
    for path in files_of(disk / "cache" / "contents"):
        path.unlink()
    with (disk / "stuffing").open("wb", buffering=0) as file:
        try:
            while file.write(os.urandom(4096)):
                pass
        except OSError:
            pass


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
    print("done")
