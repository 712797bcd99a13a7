"""The cache holds as much as it may: what was used least lately goes, and no reader notices."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from cache_origins import Bare, Origin, object_of, read
from evicting import SIZE, held

from xooai.cache import Cache, FromStore
from xooai.errors import DataLoss, InvalidArgument, NotFound
from xooai.signature import sign
from xooai.testing.stores.fixtures import bytes_of

KIB = 1024
PROGRAM = Path(__file__).parent / "evicting.py"
CONTENTS = [bytes_of(100 * KIB, seed) for seed in range(12)]
NAMES = [sign(data) for data in CONTENTS]


def used(root: Path, name: str, seconds_ago: float) -> None:
    """Have a content used so long ago."""
    mark = root / "marks" / name[7:9] / name[7:]
    os.utime(mark, (time.time() - seconds_ago, time.time() - seconds_ago))


def here(root: Path) -> set[int]:
    return {number for number, name in enumerate(NAMES) if object_of(root, name).exists()}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(*CONTENTS), Cache(str(tmp_path), limit=1000 * KIB)
        for name in NAMES[:10]:
            await read(cache, name, origin)
        assert here(tmp_path) == set(range(10))
        for number in range(10):
            used(tmp_path, NAMES[number], 1000 - number)
        used(tmp_path, NAMES[0], 0)  # by another process
        later = Cache(str(tmp_path), limit=1000 * KIB)
        await read(later, NAMES[1], origin)
        await read(later, NAMES[10], origin)
        assert here(tmp_path) == {0, 1, 5, 6, 7, 8, 9, 10}
        assert (cache.counts.evicted, later.counts.evicted, origin.gets) == (0, 3, 11)
        await read(later, NAMES[11], origin)
        assert later.counts.evicted == 3
        assert {path.name for path in (tmp_path / "marks").glob("??/*")} == {NAMES[n][7:] for n in here(tmp_path)}

    asyncio.run(main())


def test_what_was_used_when_the_clock_was_ahead_is_not_kept_for_longer_than_others(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(*CONTENTS), Cache(str(tmp_path), limit=1000 * KIB)
        for name in NAMES[:10]:
            await read(cache, name, origin)
        for name in NAMES[:5]:
            used(tmp_path, name, -1_000_000)
        await read(cache, NAMES[10], origin)
        assert here(tmp_path) >= {0, 1, 2, 3, 4, 10}
        assert all(mark.stat().st_mtime <= time.time() for mark in tmp_path.glob("marks/??/*"))

    asyncio.run(main())


def test_a_content_that_somebody_is_bringing_stays(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(*CONTENTS), Cache(str(tmp_path), limit=1000 * KIB)
        for name in NAMES[:10]:
            await read(cache, name, origin)
        for number in range(10):
            used(tmp_path, NAMES[number], 1000 - number)
        async with Cache(str(tmp_path))._shelf.locks.held(NAMES[0][7:]):
            await read(cache, NAMES[10], origin)
        assert here(tmp_path) == {0, 4, 5, 6, 7, 8, 9, 10}

    asyncio.run(main())


@pytest.mark.parametrize("given", [None, b"another"], ids=["missing", "another"])
def test_a_large_size_that_somebody_claims_makes_no_other_go(tmp_path: Path, given: bytes | None) -> None:
    async def main() -> None:
        origin, cache = Origin(*CONTENTS), Cache(str(tmp_path), limit=1000 * KIB)
        for name in NAMES[:10]:
            await read(cache, name, origin)
        if given is not None:
            origin._held[sign(b"claimed")] = (given, 0.0)
        with pytest.raises((NotFound, DataLoss)):
            await cache.get(sign(b"claimed"), origin, size=1000 * KIB)
        assert here(tmp_path) == set(range(10))

    asyncio.run(main())


def test_where_nobody_can_see_what_could_go_nothing_more_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: object) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def main() -> None:
        origin, cache = Origin(*CONTENTS), Cache(str(tmp_path), limit=1000 * KIB)
        for name in NAMES[:10]:
            await read(cache, name, origin)
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", failing)
            assert [await read(cache, name, origin) for name in NAMES[10:]] == CONTENTS[10:]
        assert here(tmp_path) == set(range(10))
        assert cache.counts.around == 2

    asyncio.run(main())


def test_what_is_larger_than_the_cache_is_served_and_not_kept(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(*CONTENTS), Cache(str(tmp_path), limit=150 * KIB)
        large = bytes_of(151 * KIB)
        assert await read(cache, NAMES[0], origin) == CONTENTS[0]
        assert await read(cache, sign(large), Origin(large)) == large
        assert here(tmp_path) == {0}
        assert await read(cache, sign(large[:-2000]), Origin(large[:-2000])) == large[:-2000]
        assert here(tmp_path) == {0}
        none = Cache(str(tmp_path / "none"), limit=0)
        assert await read(none, NAMES[0], origin) == CONTENTS[0]
        assert (cache.counts.around, none.counts.around) == (2, 1)

    asyncio.run(main())


def test_of_what_turns_out_to_be_larger_than_the_cache_no_more_is_written_than_it_may_hold(tmp_path: Path) -> None:
    data, given = bytes_of(8 << 20), list[int]()

    class Counting(Origin):
        async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
            given.append(0)
            async with aclosing(super().get(signature, start, end)) as chunks:
                async for chunk in chunks:
                    given[-1] += len(chunk)
                    yield chunk

    async def main() -> None:
        cache = Cache(str(tmp_path), limit=2 << 20)
        async with aclosing(cache.stream(FromStore(Bare(Counting(data)), sign(data)))) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == data
        assert given == [3 << 20, 8 << 20]

    asyncio.run(main())


@pytest.mark.parametrize("damage", ["missing", "torn", "too small", "too large"])
def test_a_count_that_is_wrong_is_made_anew_when_room_is_needed(tmp_path: Path, damage: str) -> None:
    async def main() -> None:
        origin, cache = Origin(*CONTENTS), Cache(str(tmp_path), limit=1000 * KIB)
        for name in NAMES[:9]:
            await read(cache, name, origin)
        total = tmp_path / "total"
        assert total.read_text() == f"{900 * KIB} 9\n"
        if damage == "missing":
            total.unlink()
        else:
            total.write_text({"torn": "", "too small": f"{800 * KIB} 8\n", "too large": f"{990 * KIB} 10\n"}[damage])
        await read(cache, NAMES[9], origin)
        assert here(tmp_path) == set(range(10))
        for name in NAMES[10:]:
            await read(cache, name, origin)
        assert held(tmp_path) <= (1100 if damage == "too small" else 1000) * KIB
        assert here(tmp_path) >= {9, 10, 11}

    asyncio.run(main())


def test_small_contents_count_as_what_they_take_on_the_disk(tmp_path: Path) -> None:
    async def main() -> None:
        small = [bytes([number]) for number in range(20)]
        cache = Cache(str(tmp_path), limit=10 * 4096)
        for data in small:
            await read(cache, sign(data), Origin(data))
        assert 8 <= held(tmp_path) <= 10

    asyncio.run(main())


def test_how_much_it_may_hold_is_said_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(given: str) -> int:
        monkeypatch.setenv("XOOAI_CACHE_LIMIT", given)
        cache = Cache(str(tmp_path / "cache"))
        return await cache._shelf.limit()

    given = {"20GiB": 20 << 30, "500 M": 500 << 20, "1000000": 1_000_000, "0": 0}
    assert {text: asyncio.run(main(text)) for text in given} == given
    assert 0 < asyncio.run(main("")) <= 10 << 30
    monkeypatch.setenv("XOOAI_CACHE_LIMIT", "much")
    with pytest.raises(InvalidArgument, match="XOOAI_CACHE_LIMIT is 'much'; it is a number of bytes"):
        Cache(str(tmp_path))


def test_what_dead_processes_left_is_removed_when_it_is_old_and_nobody_has_looked_within_the_hour(
    tmp_path: Path,
) -> None:
    left = [tmp_path / "contents" / ".xooai-incoming" / ("0" * 32), tmp_path / "locks" / NAMES[5][7:]]
    left.append(tmp_path / "marks" / NAMES[6][7:9] / NAMES[6][7:])

    def leave(seconds_ago: float) -> None:
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("left")
            os.utime(path, (time.time() - seconds_ago, time.time() - seconds_ago))

    async def opened() -> None:
        cache = Cache(str(tmp_path))
        await read(cache, NAMES[0], Origin(*CONTENTS))
        while cache._flights._tasks:
            await asyncio.wait(cache._flights._tasks)
        await cache.aclose()

    leave(60)
    asyncio.run(opened())
    assert all(path.exists() for path in left)
    leave(4000)
    asyncio.run(opened())
    assert all(path.exists() for path in left)
    os.utime(tmp_path / "swept", (0, 0))
    asyncio.run(opened())
    assert not any(path.exists() for path in left)
    assert here(tmp_path) == {0}


@pytest.mark.parametrize("seconds", [1.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_sixteen_readers_whose_contents_are_removed_read_no_wrong_byte(tmp_path: Path, seconds: float) -> None:
    """Four processes with four readers each, and room for two contents of six."""
    limit = 10 << 20
    code = f"""
import asyncio, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
from evicting import main
async def four(seed):
    found = await asyncio.gather(*(main({str(tmp_path)!r}, {limit}, {seconds}, 4 * seed + one) for one in range(4)))
    print(*(sum(column) if place != 2 else max(column) for place, column in enumerate(zip(*found))))
asyncio.run(four(int(sys.argv[1])))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    processes = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True) for seed in range(4)]
    found = [tuple(map(int, process.communicate()[0].split())) for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    assert all(read > 0 for read, _, _, _ in found)
    assert sum(wrong for _, wrong, _, _ in found) == 0
    assert sum(evicted for _, _, _, evicted in found) > 10
    assert max(most for _, _, most, _ in found) <= limit + 16 * SIZE
    assert held(tmp_path) <= limit + 16 * SIZE
