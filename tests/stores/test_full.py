"""A directory without room, without inodes, or on a disk that is only read: told, and well again without a restart."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xooai.content import MemoryContent
from xooai.errors import PermissionDenied, ResourceExhausted
from xooai.store import Deletes, Lists, Store, Sweeps
from xooai.testing.stores.fixtures import bytes_of, got
from xooai_fsspec.directory import Directory

pytestmark = pytest.mark.system

MIB = 1 << 20
CONTENTS = [MemoryContent(bytes_of(MIB, seed)) for seed in range(20)]


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def put_all(store: Store) -> list[MemoryContent]:
    """Those that were put; the others found no room."""
    done = []
    for content in CONTENTS:
        try:
            await store.put(content, durable=True)
        except ResourceExhausted as error:
            assert error.reason == "storage"
        else:
            done.append(content)
    return done


@pytest.mark.parametrize("options", ["size=8m", "size=64m,nr_inodes=30"], ids=["room", "inodes"])
def test_a_full_disk_is_told_and_what_is_there_stays_readable(tmp_path: Path, options: str) -> None:
    async def fill(root: Path) -> None:
        store = Directory(str(root))
        assert isinstance(store, Lists)
        assert isinstance(store, Deletes)
        assert isinstance(store, Sweeps)
        done = await put_all(store)
        assert 0 < len(done) < len(CONTENTS)
        for content in done:
            assert await got(store, content.signature) == await got_from(content)
        await store.aclose()
        assert [entry.size async for entry in store.entries()] == [MIB] * len(done)
        assert await store.sweep(-60) == 0

        missing = next(content for content in CONTENTS if content not in done)
        await store.delete(done[0].signature)
        await store.delete(done[1].signature)
        await store.put(done[0])  # its folders are there, which matters where inodes are few
        assert await got(store, done[0].signature) == await got_from(done[0])
        if "inodes" not in options:
            await store.put(missing)
            assert await got(store, missing.signature) == await got_from(missing)

    with disk(tmp_path / "disk", options) as root:
        asyncio.run(fill(root / "store"))


def test_a_disk_that_is_only_read_is_told_and_read(tmp_path: Path) -> None:
    async def use(root: Path) -> None:
        store = Directory(str(root / "store"))
        await store.put(CONTENTS[0])
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)  # noqa: ASYNC221 - nothing else runs here
        with pytest.raises(PermissionDenied, match="Read-only"):
            await store.put(CONTENTS[1])
        await store.put(CONTENTS[0])
        assert await got(store, CONTENTS[0].signature) == await got_from(CONTENTS[0])
        await store.aclose()

    with disk(tmp_path / "disk", "size=8m") as root:
        asyncio.run(use(root))


async def got_from(content: MemoryContent) -> bytes:
    return b"".join([chunk async for chunk in content.read()])
