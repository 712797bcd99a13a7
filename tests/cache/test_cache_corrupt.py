"""What was changed in the cache is seen, moved away and fetched again; what cannot be read now is not taken for that."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cache_origins import Origin, mark_as_verified, object_of, read

from xooai.cache import Cache, FromStore
from xooai.cache_place import place
from xooai.errors import FailedPrecondition, ResourceExhausted, Unavailable
from xooai.signature import CHUNK, sign
from xooai.testing.stores.fixtures import bytes_of

DATA, OTHER = bytes_of(1 << 20), bytes_of(1 << 20, 1)
NAME = sign(DATA)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:  # the clock of a filesystem goes in steps
        file.write_bytes(data)


def flip_with_its_time_set_back(file: Path) -> None:
    before = file.stat()
    flip(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(file: Path) -> None:
    other = object_of(file.parents[3], sign(OTHER))
    file.rename(file.with_name("aside"))
    other.rename(file)
    file.with_name("aside").rename(other)


def replace_by_a_folder(file: Path) -> None:
    file.unlink()
    (file / "x").mkdir(parents=True)


def replace_by_a_link(file: Path) -> None:
    file.rename(file.parents[4] / "elsewhere")
    file.symlink_to(file.parents[4] / "elsewhere")


def replace_by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit is flipped": flip,
    "a bit is flipped and the time set back": flip_with_its_time_set_back,
    "all is cut off": lambda file: os.truncate(file, 0),
    "half is cut off": lambda file: os.truncate(file, len(DATA) // 2),
    "a byte is added": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "another is in its place": swap,
    "a folder is in its place": replace_by_a_folder,
    "a link is in its place": replace_by_a_link,
    "a pipe is in its place": replace_by_a_pipe,
}


@pytest.mark.parametrize("is_known", [True, False], ids=["same process", "another process"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_corrupt_is_moved_away_and_fetched_again(
    tmp_path: Path, damage: Callable[[Path], object], is_known: bool
) -> None:
    async def main() -> None:
        root = tmp_path / "cache"
        origin, cache = Origin(DATA, OTHER), Cache(str(root))
        assert await read(cache, sign(OTHER), origin) == OTHER
        assert await read(cache, NAME, origin) == DATA
        damage(object_of(root, NAME))

        later = cache if is_known else Cache(str(root))
        assert await later.find(NAME) is None
        assert await read(later, NAME, origin) == DATA
        assert await read(later, sign(OTHER), origin) == OTHER

        swapped = damage is swap
        assert later.counts.corrupt == 1 + swapped
        assert origin.gets == 3 + swapped
        assert len(list((root / "corrupt").iterdir())) == 1 + swapped
        assert await read(later, NAME, Origin()) == DATA

    asyncio.run(main())


def test_what_a_disk_changed_by_itself_is_seen_by_reading_it_as_a_whole(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA), Cache(str(tmp_path))
        await read(cache, NAME, origin)
        flip(object_of(tmp_path, NAME))
        mark_as_verified(tmp_path, NAME)

        later = Cache(str(tmp_path))
        assert await read(later, NAME, origin) != DATA
        assert await read(later, NAME, origin, verify=True) == DATA
        assert (later.counts.corrupt, origin.gets) == (1, 2)
        assert await read(later, NAME, origin, verify=True) == DATA
        assert origin.gets == 2

    asyncio.run(main())


def test_a_content_that_nobody_marked_is_verified_and_not_fetched(tmp_path: Path) -> None:
    async def main() -> None:
        await read(Cache(str(tmp_path)), NAME, Origin(DATA))
        shutil.rmtree(tmp_path / "marks")
        assert await Cache(str(tmp_path)).find(NAME) is None
        for _ in range(2):
            later = Cache(str(tmp_path))
            assert await read(later, NAME, Origin()) == DATA
        file = await Cache(str(tmp_path)).find(NAME)
        assert file is not None
        file.close()

    asyncio.run(main())


def test_of_what_is_corrupt_the_newest_are_kept(tmp_path: Path) -> None:
    async def main() -> None:
        cache = Cache(str(tmp_path))
        for number in range(20):
            data = number.to_bytes(1, "big")
            for _ in range(2):
                assert await read(cache, sign(data), Origin(data)) == data
                if object_of(tmp_path, sign(data)).stat().st_size == 1:
                    object_of(tmp_path, sign(data)).write_bytes(b"")
        assert cache.counts.corrupt == 20
        kept = {path.name.partition(".")[0] for path in (tmp_path / "corrupt").iterdir()}
        assert kept == {sign(number.to_bytes(1, "big"))[7:] for number in range(4, 20)}

    asyncio.run(main())


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Not root, who may read everything."""
    if os.geteuid():
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A folder that is reached by every user."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def nothing_may_be_opened() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_may_not_be_read_is_no_corruption(anywhere: Path) -> None:
    root, origin = anywhere / "cache", Origin(DATA)

    async def main() -> None:
        cache = Cache(str(root))
        assert await read(cache, NAME, origin) == DATA
        object_of(root, NAME).chmod(0)
        with unprivileged(root):
            assert await read(cache, NAME, origin) == DATA
        assert (cache.counts.around, cache.counts.corrupt, origin.gets) == (1, 0, 2)
        object_of(root, NAME).chmod(0o600)
        with unprivileged(root):
            assert await read(cache, NAME, origin) == DATA
        assert (cache.counts.corrupt, origin.gets) == (0, 2)

    asyncio.run(main())


def test_a_cache_that_may_only_be_read_gives_what_it_has(anywhere: Path) -> None:
    root = anywhere / "cache"

    async def main() -> None:
        cache = Cache(str(root))
        for data in (DATA, OTHER):
            assert await read(cache, sign(data), Origin(data)) == data
        shutil.rmtree(root / "marks" / sign(OTHER)[7:9])
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        with unprivileged(root):
            object_of(root, NAME).chmod(0o400)
            later = Cache(str(root))
            assert await read(later, NAME, Origin()) == DATA
            for folder in folders:
                folder.chmod(0o500)
            later = Cache(str(root))
            assert [await read(later, name, Origin()) for name in (NAME, sign(OTHER))] == [DATA, OTHER]
            new = bytes_of(1000, 2)
            assert await read(later, sign(new), Origin(new)) == new
            for folder in folders:
                folder.chmod(0o700)
        assert (later.counts.around, later.counts.corrupt) == (1, 0)

    asyncio.run(main())


def test_a_process_without_descriptors_takes_nothing_for_corrupt(tmp_path: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA), Cache(str(tmp_path))
        await read(cache, NAME, origin)
        with nothing_may_be_opened(), pytest.raises(ResourceExhausted) as raised:
            await cache.get(NAME, origin)
        assert raised.value.reason == "load"
        assert (cache.counts.around, cache.counts.corrupt) == (1, 0)
        assert await read(cache, NAME, Origin()) == DATA

    asyncio.run(main())


@pytest.mark.parametrize("call", ["open", "read"])
def test_a_disk_that_fails_takes_nothing_for_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = os.open

    def failing(path: str, *more: Any, **named: Any) -> int:
        if path != NAME[7:]:
            return real(path, *more, **named)
        if call == "read":
            return real("/proc/self/mem", os.O_RDONLY)  # whose first page cannot be read
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def main() -> None:
        origin, cache = Origin(DATA), Cache(str(tmp_path))
        await read(cache, NAME, origin)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing)
            assert await read(cache, NAME, origin) == DATA
        assert (cache.counts.around, cache.counts.corrupt, origin.gets) == (1, 0, 2)
        assert await read(cache, NAME, Origin()) == DATA

    asyncio.run(main())


@pytest.mark.parametrize("good", [0, 5], ids=["at once", "in the middle"])
def test_a_disk_that_fails_while_it_is_streamed_is_told_or_the_source_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: int
) -> None:
    real, data, reads = os.read, bytes_of(8 << 20), list[int]()

    def failing(fd: int, size: int) -> bytes:
        if size == CHUNK:
            reads.append(fd)
            if len(reads) > good:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, size)

    async def main() -> bytes:
        cache, origin = Cache(str(tmp_path)), Origin(data)
        await read(cache, sign(data), origin)
        monkeypatch.setattr(os, "read", failing)
        async with aclosing(cache.stream(FromStore(origin, sign(data)))) as chunks:
            return b"".join([chunk async for chunk in chunks])

    if good:
        with pytest.raises(Unavailable, match="the cache does not work: Input/output error"):
            asyncio.run(main())
    else:
        assert asyncio.run(main()) == data


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    async def main() -> None:
        tmp_path.chmod(mode)
        origin, cache = Origin(DATA), Cache(str(tmp_path))
        assert await read(cache, NAME, origin) == DATA
        assert list(tmp_path.iterdir()) == []
        tmp_path.chmod(0o755)
        assert await read(cache, NAME, origin) == DATA
        assert (cache.counts.around, cache.counts.misses) == (1, 1)

    asyncio.run(main())


def test_a_folder_that_others_may_write_to_from_now_on_is_looked_at_before_what_is_in_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr("xooai.cache.shelf.LOOKED_EVERY", 0.0)
        root, origin = tmp_path / "cache", Origin(DATA)
        cache = Cache(str(root))
        assert await read(cache, NAME, origin) == DATA
        root.rename(tmp_path / "removed")
        poisoned = object_of(root, NAME)
        poisoned.parent.mkdir(parents=True)
        poisoned.write_bytes(OTHER)
        mark_as_verified(root, NAME)
        root.chmod(0o777)
        assert await read(cache, NAME, origin) == DATA
        assert (cache.counts.hits, cache.counts.around, origin.gets) == (0, 1, 2)

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")
@pytest.mark.parametrize("is_link", [False, True], ids=["folder", "link"])
def test_a_folder_of_another_user_is_not_used(tmp_path: Path, is_link: bool, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "cache"
    if is_link:
        (tmp_path / "own").mkdir()
        root.symlink_to(tmp_path / "own")
    else:
        root.mkdir()
    os.chown(root, 65534, 65534, follow_symlinks=False)

    assert asyncio.run(read(Cache(str(root)), NAME, Origin(DATA))) == DATA

    assert list(root.iterdir()) == []
    assert "belongs to another user; XOOAI_CACHE names a folder of one's own" in caplog.text


def test_who_has_no_home_is_served_around_the_cache(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    for name in ("XOOAI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    cache = Cache()

    assert [asyncio.run(read(cache, NAME, Origin(DATA))) for _ in range(2)] == [DATA, DATA]

    assert cache.counts.around == 2
    assert [record.message for record in caplog.records] == [
        "contents are served around the cache at -: there is no home for a cache; XOOAI_CACHE says where it should be"
    ]
    with pytest.raises(FailedPrecondition, match="XOOAI_CACHE says where"):
        place()


def test_a_folder_below_a_link_that_leads_nowhere_stops_no_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "disk").symlink_to(tmp_path / "not mounted")
    cache = Cache(str(tmp_path / "disk" / "cache"))
    assert asyncio.run(read(cache, NAME, Origin(DATA))) == DATA
    assert cache.counts.around == 1
    assert "No such file or directory" in caplog.text


def test_a_link_in_the_place_of_a_mark_or_a_lock_is_not_followed(tmp_path: Path) -> None:
    async def main() -> None:
        precious = tmp_path / "precious"
        precious.write_text("precious")
        root = tmp_path / "cache"
        for folder in (root / "locks", root / "marks" / NAME[7:9]):
            folder.mkdir(parents=True)
            (folder / NAME[7:]).symlink_to(precious)
        root.chmod(0o700)
        assert await read(Cache(str(root)), NAME, Origin(DATA)) == DATA
        assert precious.read_text() == "precious"

    asyncio.run(main())


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/means/nothing")
    monkeypatch.delenv("XOOAI_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert place() == f"{tmp_path}/.cache/xooai"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert place() == "/elsewhere/xooai"
    monkeypatch.setattr("sys.platform", "darwin")
    assert place() == f"{tmp_path}/Library/Caches/xooai"
    monkeypatch.setenv("XOOAI_CACHE", "~/mine")
    assert place() == f"{tmp_path}/mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XOOAI_CACHE", "mine")
    assert place() == f"{tmp_path}/mine"
