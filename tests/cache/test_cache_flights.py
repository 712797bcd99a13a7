"""What many want at once is fetched once, by one of them, and for all who stay."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import BinaryIO

import pytest
from cache_origins import Origin, files_of, object_of, read

from xooai.cache import Cache
from xooai.cache.folder import Folder
from xooai.cache.locks import TOTAL, Locks
from xooai.content import MemoryContent
from xooai.errors import Unavailable
from xooai.plugins import open_store
from xooai.signature import sign
from xooai.testing.stores.fixtures import bytes_of

DATA = bytes_of(8 << 20)
NAME = sign(DATA)
PROGRAM = Path(__file__).parent / "cache_program.py"
PATIENCE = 60.0  # seconds


async def joined(cache: Cache, count: int) -> None:
    """Wait until so many wait for the content."""
    while cache._flights._under_way[NAME].waiting < count:  # noqa: ASYNC110 - nobody tells of this
        await asyncio.sleep(0)


def test_two_hundred_who_want_a_content_fetch_it_once(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA), Cache(str(tmp_path))
        files = await asyncio.gather(*(cache.get(NAME, origin) for _ in range(200)))
        for file in files:
            with file:
                assert file.read() == DATA
        assert (origin.gets, origin.sizes, cache.counts.misses) == (1, 1, 1)

    asyncio.run(main())


def test_an_origin_that_dies_in_the_middle_is_told_to_all_and_asked_once_more_by_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA, gated=True, dies=1), Cache(str(tmp_path))
        waiting = [asyncio.create_task(cache.get(NAME, origin)) for _ in range(200)]
        await origin.reached.wait()
        await joined(cache, 200)  # who comes after the end of one asks anew
        origin.released.set()
        await asyncio.wait(waiting)
        ended = [task.exception() for task in waiting]
        assert {(type(error), str(error)) for error in ended} == {(Unavailable, "the origin has died")}
        assert origin.gets == 1
        assert {len(traceback.extract_tb(error.__traceback__)) < 50 for error in ended if error} == {True}
        files = await asyncio.gather(*(cache.get(NAME, origin) for _ in range(200)))
        for file in files:
            file.close()
        assert origin.gets == 2
        assert await read(cache, NAME, origin) == DATA

    asyncio.run(main())


def test_who_waits_for_a_source_that_fails_tries_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        dying, sound, cache = Origin(DATA, gated=True, dies=1), Origin(DATA), Cache(str(tmp_path))
        first = asyncio.create_task(read(cache, NAME, dying))
        await dying.reached.wait()
        others = [asyncio.create_task(read(cache, NAME, sound)) for _ in range(10)]
        await joined(cache, 11)
        dying.released.set()
        with pytest.raises(Unavailable):
            await first
        assert await asyncio.gather(*others) == [DATA] * 10
        assert sound.gets == 1

    asyncio.run(main())


def test_the_first_who_leaves_takes_nothing_from_those_who_stay(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA, gated=True), Cache(str(tmp_path))
        leader = asyncio.create_task(read(cache, NAME, origin))
        await origin.reached.wait()
        followers = [asyncio.create_task(read(cache, NAME, origin)) for _ in range(5)]
        await joined(cache, 6)
        leader.cancel()
        await asyncio.wait([leader])
        assert leader.cancelled()
        origin.released.set()
        assert await asyncio.gather(*followers) == [DATA] * 5
        assert (origin.gets, origin.cancelled) == (1, 0)

    asyncio.run(main())


def test_the_deadline_of_the_first_is_not_that_of_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA, gated=True), Cache(str(tmp_path))

        late = asyncio.timeout(None)

        async def hurried() -> None:
            async with late:
                await read(cache, NAME, origin)

        leader = asyncio.create_task(hurried())
        await origin.reached.wait()
        follower = asyncio.create_task(read(cache, NAME, origin))
        await joined(cache, 2)
        late.reschedule(asyncio.get_running_loop().time())
        with pytest.raises(TimeoutError):
            await leader
        origin.released.set()
        assert await follower == DATA
        assert origin.gets == 1

    asyncio.run(main())


def test_a_fetch_that_nobody_waits_for_ends_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA, gated=True), Cache(str(tmp_path))
        tasks = [asyncio.create_task(read(cache, NAME, origin)) for _ in range(3)]
        await origin.reached.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await cache.aclose()
        assert (origin.gets, origin.cancelled) == (1, 1)
        assert files_of(tmp_path) == []
        origin.released.set()
        assert await read(cache, NAME, origin) == DATA

    asyncio.run(main())


def test_a_cache_that_is_closed_tells_who_waits(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA, gated=True), Cache(str(tmp_path))
        reading = asyncio.create_task(read(cache, NAME, origin))
        await origin.reached.wait()
        await cache.aclose()
        with pytest.raises(Unavailable, match="closed"):
            await reading
        assert origin.cancelled == 1

    asyncio.run(main())


def test_readers_that_leave_at_any_time_leave_no_descriptor(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA), Cache(str(tmp_path))
        for turns in range(60):
            reading = asyncio.ensure_future(cache.get(NAME, origin, verify=turns % 3 == 0))
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001 * (turns % 7))
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.result().close()
        await cache.aclose()

    before = descriptors()
    asyncio.run(main())  # which waits for its threads
    assert descriptors() == before


def test_the_file_of_a_lock_is_removed_by_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, on_the_loop = os.unlink, list[object]()

    def unlink(path: str, **named: int) -> None:
        if threading.current_thread() is threading.main_thread():
            on_the_loop.append(path)
        real(path, **named)

    async def main() -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        (await Cache(str(tmp_path)).get(NAME, Origin(DATA))).close()

    asyncio.run(main())
    assert on_the_loop == files_of(tmp_path / "locks") == []


def test_who_leaves_a_stream_at_its_beginning_reads_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reached, released = os.dup, threading.Event(), threading.Event()

    def slow(fd: int) -> int:
        reached.set()
        if threading.current_thread() is not threading.main_thread():
            assert released.wait(PATIENCE)
        return real(fd)

    async def main() -> list[BinaryIO]:
        cache, content = Cache(str(tmp_path / "cache")), MemoryContent(DATA)
        (await cache.open(content)).close()
        monkeypatch.setattr(os, "dup", slow)
        streaming = asyncio.create_task(anext(cache.stream(content)))
        assert await asyncio.to_thread(reached.wait, PATIENCE)
        streaming.cancel()
        await asyncio.wait([streaming])
        others: list[BinaryIO] = [object_of(tmp_path / "cache", NAME).open("rb", buffering=0) for _ in range(5)]
        released.set()
        return others

    others = asyncio.run(main())  # which waits for its threads
    assert [other.tell() for other in others] == [0] * 5
    for other in others:
        other.close()


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()}


class Processes:
    """Processes that read one content, of an origin that counts."""

    def __init__(self, folder: Path) -> None:
        self.root, self._origin = folder / "cache", folder / "origin"
        asyncio.run(open_store(str(self._origin)).put(MemoryContent(DATA)))

    @property
    def gets(self) -> int:
        return len(Path(f"{self._origin}.gets").read_text().splitlines())

    def start(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAM), str(self.root), NAME, str(self._origin), *more]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        return process


def said(process: subprocess.Popen[str], line: str = "") -> str:
    """What a process says at its end."""
    out, _ = process.communicate(line, timeout=PATIENCE)
    return out


def test_processes_that_want_a_content_fetch_it_once(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    leader = processes.start("gate")
    assert leader.stdout is not None
    assert leader.stdout.readline() == "reached\n"
    followers = [processes.start() for _ in range(3)]

    assert said(leader, "\n") == "right 0\n"
    assert [said(follower) for follower in followers] == ["right 0\n"] * 3
    assert processes.gets == 1
    assert files_of(processes.root / "locks") == []


def test_a_process_that_is_killed_while_it_fetches_makes_way_for_the_next(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    leader = processes.start("gate")
    assert leader.stdout is not None
    assert leader.stdout.readline() == "reached\n"
    followers = [processes.start() for _ in range(2)]
    leader.kill()
    said(leader)

    assert [said(follower) for follower in followers] == ["right 0\n"] * 2
    assert processes.gets == 2
    assert object_of(processes.root, NAME).stat().st_size == len(DATA)


def test_several_loops_of_a_process_fetch_a_content_once(tmp_path: Path) -> None:
    origin, found = Origin(DATA), list[bytes]()

    def get() -> None:
        found.append(asyncio.run(read(Cache(str(tmp_path)), NAME, origin)))

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [DATA] * 4
    assert origin.gets == 1


def test_a_child_of_a_fork_does_not_hold_what_its_parent_held(tmp_path: Path) -> None:
    code = f"""
import asyncio, fcntl, os, sys
from xooai.cache.folder import Folder
from xooai.cache.locks import Locks
async def main():
    folder = Folder({str(tmp_path)!r})
    reading, writing = os.pipe()
    async with Locks(folder).held("x"):
        if not os.fork():
            os.write(writing, b"forked")
            sys.stdin.readline()
            os._exit(0)
        os.read(reading, 100)
        assert Locks(folder).is_held("x")
        file = os.open({str(tmp_path / "locks" / "x")!r}, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("free")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, input="\n")
    assert ended.stdout == "free\n"


def test_a_child_of_a_fork_does_not_keep_a_count_that_its_parent_was_at(tmp_path: Path) -> None:
    code = f"""
import asyncio, os, sys
from xooai.cache.folder import Folder
from xooai.cache.locks import TOTAL, Locks
locks = Locks(Folder({str(tmp_path)!r}))
with locks.at_once(TOTAL) as is_held:
    if not os.fork():
        sys.stdin.readline()
        os._exit(0)
print(is_held, locks.is_held(TOTAL))
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, input="\n")
    assert ended.stdout == "True False\n"


def test_a_process_that_is_stopped_while_it_counts_keeps_a_reader_once_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        cache, contents = Cache(str(tmp_path)), [MemoryContent(bytes([number])) for number in range(3)]
        monkeypatch.setattr("xooai.cache.locks.PATIENCE", 0.05)
        (await cache.open(contents[0])).close()
        monkeypatch.setattr("xooai.cache.locks.PATIENCE", 10 * PATIENCE)
        for content in contents[1:]:
            (await cache.open(content)).close()
        assert cache.counts.around == 0

    with Locks(Folder(str(tmp_path))).at_once(TOTAL) as is_held:
        assert is_held
        asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_who_fetches_for_long_and_is_alive_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xooai.cache.locks.BEAT", 0.02)
    monkeypatch.setattr("xooai.cache.locks.PATIENCE", 1.0)

    async def main() -> None:
        origin = Origin(DATA, gated=True)
        leader = asyncio.create_task(read(Cache(str(tmp_path)), NAME, origin))
        await origin.reached.wait()
        follower = asyncio.create_task(read(Cache(str(tmp_path)), NAME, origin))
        await asyncio.wait([follower], timeout=1.5)
        origin.released.set()
        assert [await leader, await follower] == [DATA, DATA]
        assert origin.gets == 1

    asyncio.run(main())
