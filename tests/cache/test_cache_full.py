"""A disk that is full stops no reader: others make room, or the content is served around the cache."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cache_origins import Bare, Origin, files_of, object_of, read

from xooai.cache import Cache, FromStore, Source
from xooai.content import MemoryContent
from xooai.errors import DataLoss, ResourceExhausted, Unavailable
from xooai.signature import sign
from xooai.testing.stores.fixtures import Broken, Gated, Once, bytes_of

DATA = bytes_of(3 << 20)
NAME = sign(DATA)
SMALL = bytes_of(1000)
PROGRAM = Path(__file__).parent / "full_disk.py"
PATIENCE = 60.0  # seconds


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may have more bytes than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def streamed(cache: Cache, content: Source) -> bytes:
    async with aclosing(cache.stream(content)) as chunks:
        return b"".join([chunk async for chunk in chunks])


def test_what_has_no_room_on_disk_is_streamed_and_kept_when_there_is_room(tmp_path: Path) -> None:
    async def main() -> None:
        cache, content = Cache(str(tmp_path)), Once(DATA)
        assert await read(cache, sign(SMALL), Origin(SMALL)) == SMALL
        with largest_file(1 << 20):
            assert await streamed(cache, content) == DATA
            with pytest.raises(ResourceExhausted, match="the disk for a content of 3,145,728 bytes is full") as raised:
                await cache.open(content)
        assert raised.value.reason == "storage"
        await cache.aclose()
        assert not object_of(tmp_path, NAME).exists()
        assert all(path.stat().st_size for path in files_of(tmp_path / "contents"))

        content.reads = 0
        assert await streamed(cache, content) == DATA
        assert await streamed(cache, content) == DATA
        assert content.reads == 1

    asyncio.run(main())


def test_what_has_no_room_on_disk_and_no_known_size_is_read_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        cache, source = Cache(str(tmp_path)), FromStore(Bare(Origin(DATA)), NAME)
        with largest_file(1 << 20):
            assert await streamed(cache, source) == DATA
            assert await cache.read(source) == DATA
            with pytest.raises(ResourceExhausted, match="unknown size is full"):
                await cache.open(source)
        assert cache.counts.around == 3

    asyncio.run(main())


def test_a_full_disk_is_freed_of_what_killed_processes_left(tmp_path: Path) -> None:
    left = tmp_path / "contents" / ".xooai-incoming" / ("0" * 32)
    left.parent.mkdir(parents=True)
    left.write_bytes(SMALL)
    os.utime(left, (time.time() - 100, time.time() - 100))

    async def main() -> None:
        with largest_file(1 << 20):
            assert await streamed(Cache(str(tmp_path)), MemoryContent(DATA)) == DATA

    asyncio.run(main())
    assert not left.exists()


def test_a_full_disk_is_no_reason_to_remove_what_would_not_be_enough(tmp_path: Path) -> None:
    async def main() -> None:
        cache = Cache(str(tmp_path))
        await read(cache, sign(SMALL), Origin(SMALL))
        huge = MemoryContent(DATA)
        huge.size = 1 << 62
        files = await cache._shelf.files()
        assert not await cache._shelf.room.free(files, huge.size)
        assert object_of(tmp_path, sign(SMALL)).exists()

    asyncio.run(main())


def test_what_is_streamed_around_the_cache_and_is_wrong_is_told_at_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        cache = Cache(str(tmp_path), limit=0)
        with pytest.raises(DataLoss):
            await streamed(cache, Broken(DATA, b"x" + DATA[1:]))
        kept = Cache(str(tmp_path))
        with pytest.raises(DataLoss):
            await streamed(kept, Broken(DATA, b"x" + DATA[1:]))

    asyncio.run(main())


@pytest.mark.parametrize("is_away", [False, True], ids=["left", "the source fails"])
def test_who_leaves_what_has_no_room_learns_why(tmp_path: Path, is_away: bool) -> None:
    async def main() -> None:
        cache, content = Cache(str(tmp_path), limit=0), Gated(SMALL)
        if is_away:
            content.released.set()
        opening = asyncio.create_task(cache.open(Broken(SMALL, SMALL[:100], Away()) if is_away else content))
        if not is_away:
            await content.reached.wait()
            opening.cancel()
        await asyncio.wait([opening])
        with pytest.raises(Away if is_away else asyncio.CancelledError):
            await opening

    with largest_file(10):
        asyncio.run(main())


class Away(Unavailable):
    """What a source raises."""


def test_a_disk_that_is_slow_to_write_keeps_nobody_but_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, going_on = threading.Event(), threading.Event()

    class Slow(io.FileIO):
        def write(self, data: Any, /) -> int:
            writing.set()
            assert going_on.wait(PATIENCE)
            return super().write(data)

    def temporary(dir: str | None = None) -> io.BufferedRandom:
        return io.BufferedRandom(Slow(tmp_path / "slow", "x+"))

    async def main() -> None:
        monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
        opening = asyncio.create_task(Cache(str(tmp_path / "cache"), limit=0).open(MemoryContent(DATA)))
        await asyncio.to_thread(writing.wait)
        threading.Timer(0.5, going_on.set).start()
        opening.cancel()
        await asyncio.wait([opening])
        assert not going_on.is_set()

    asyncio.run(main())
    assert going_on.is_set()


def test_what_a_disk_that_fails_cannot_give_has_its_file_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def failing(fd: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, data)

    async def main() -> None:
        cache = Cache(str(tmp_path))
        monkeypatch.setattr(os, "write", failing)
        with await cache.open(MemoryContent(DATA)) as file:
            assert not os.readlink(f"/proc/self/fd/{file.fileno()}").startswith(str(tmp_path))
            assert file.read() == DATA
        with await Cache(str(tmp_path), limit=0).open(MemoryContent(DATA)) as file:
            assert os.readlink(f"/proc/self/fd/{file.fileno()}").startswith(str(tmp_path))

    asyncio.run(main())


def test_two_hundred_whom_a_full_cache_cannot_serve_are_served(tmp_path: Path) -> None:
    async def main() -> None:
        cache = Cache(str(tmp_path), limit=0)
        found = await asyncio.gather(*(streamed(cache, MemoryContent(SMALL)) for _ in range(200)))
        assert found == [SMALL] * 200
        assert cache.counts.around == 200

    asyncio.run(main())


@pytest.mark.system
def test_a_cache_on_a_disk_of_eight_mebibytes_takes_a_hundred() -> None:
    with tempfile.TemporaryDirectory() as folder:
        line = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -W error "$3" "$1"'
        command = ["unshare", "--mount", "sh", "-euc", line, "sh", folder, sys.executable, str(PROGRAM)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "done\n"
