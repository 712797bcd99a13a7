"""Puts one content after the other below a folder, until it is killed, and prints which are acknowledged.

    python power_cut.py (store | hasty | cache) ROOT

A line has the seed and the size of its bytes, whether it was put to stay, and its signature. `store` puts into a directory, with
`durable` and without in turns. `hasty` does so on a machine whose `fsync` does nothing. `cache` brings them to a cache.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from xooai.cache import Cache
from xooai.content import MemoryContent
from xooai.testing.stores.fixtures import bytes_of
from xooai_fsspec.directory import Directory

SMALLEST, LARGEST = 10, 19  # as powers of two
MOST = 100 * 1024**2  # bytes in all: the disk has more


def contents() -> list[int]:
    """Sizes, small and large ones."""
    sizes: list[int] = []
    while sum(sizes) < MOST:
        sizes.append(int(2 ** random.uniform(SMALLEST, LARGEST)))
    return sizes


async def store(root: str) -> None:
    directory = Directory(root)
    for number, size in enumerate(contents()):
        content = MemoryContent(bytes_of(size, number))
        turns = ((True,), (False,), (False, True))[number % 3]  # the last one is there already when it is to be durable
        for durable in turns:
            await directory.put(content, durable=durable)
            print(number, size, int(durable), content.signature, flush=True)


async def cache(root: str) -> None:
    held = Cache(root, limit=2 * MOST)
    for number, size in enumerate(contents()):
        content = MemoryContent(bytes_of(size, number))
        (await held.open(content)).close()
        print(number, size, 0, content.signature, flush=True)


def main() -> None:
    what, root = sys.argv[1:]
    if what == "hasty":
        os.fsync = lambda fd: None
    asyncio.run(cache(root) if what == "cache" else store(root))
    sys.stdin.read()  # its work is done: it waits to be killed


main()
