"""A reader of many contents by a cache that has room for few: `evicting.py ROOT LIMIT SECONDS SEED`.

Each content is 4 MiB, made from its number, and read in pieces while others have it removed. The last line on stdout tells how
many were read, how many of them were wrong, the most bytes that the folder had, and how many contents were removed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from xooai.cache import Cache
from xooai.content import MemoryContent
from xooai.signature import Hasher
from xooai.testing.stores.fixtures import bytes_of

SIZE = 4 << 20
CONTENTS = 6


def made() -> list[MemoryContent]:
    """The contents that there are."""
    return [MemoryContent(bytes_of(SIZE, seed)) for seed in range(CONTENTS)]


def held(root: Path) -> int:
    """Bytes of all contents in a cache, now."""
    total = 0
    for path in (root / "contents").glob("??/??/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total


async def main(root: str, limit: int, seconds: float, seed: int) -> tuple[int, int, int, int]:
    cache, contents, random_ = Cache(root, limit=limit), made(), random.Random(seed)
    count = wrong = most = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = random_.choice(contents)
        with await cache.open(content) as file:
            hasher = Hasher()
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
                await asyncio.sleep(0)
        count += 1
        wrong += hasher.signature != content.signature
        most = max(most, await asyncio.to_thread(held, Path(root)))
    await cache.aclose()
    return count, wrong, most, cache.counts.evicted


if __name__ == "__main__":
    print(*asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))))
