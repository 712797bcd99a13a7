"""A directory as a store passes the suite, and keeps its files to itself."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from xooai import sync
from xooai.content import FileContent, MemoryContent, key_of
from xooai.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unavailable
from xooai.plugins import open_store
from xooai.store import OnDisk, StoreOptions
from xooai.testing import StoreTests
from xooai.testing.stores.fixtures import Open, bytes_of, got, is_there
from xooai_fsspec.directory import Directory

CONTENT = MemoryContent(b"hello")


class TestDirectory(StoreTests):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        return lambda: open_store(f"file://{tmp_path}/store")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "above" / "store"


@pytest.fixture
def store(root: Path) -> Iterator[Directory]:
    store = Directory(str(root))
    yield store
    run(store.aclose())


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return sync.run(work)


def object_of(root: Path, content: MemoryContent = CONTENT) -> Path:
    return root / key_of(content.signature)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()]


def test_a_content_is_a_file_that_only_this_user_may_enter(store: Directory, root: Path) -> None:
    old = os.umask(0)
    try:
        run(store.put(CONTENT))
    finally:
        os.umask(old)

    digest = CONTENT.signature.removeprefix("sha256:")
    assert files(root) == [root / digest[:2] / digest[2:4] / digest]
    assert stat.S_IMODE(files(root)[0].stat().st_mode) == 0o600
    folders = [root.parent, root, *(path for path in root.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_opening_it_makes_nothing(root: Path) -> None:
    assert run(Directory(str(root)).size(CONTENT.signature)) is None
    assert run(Directory(str(root)).sweep()) == 0
    assert not root.exists()


def test_a_plain_path_and_a_url_are_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(open_store(str(tmp_path / "s a?b")).put(CONTENT))

    places = ["s a?b", "~/s a?b", "file://~/s a?b", f"file://{tmp_path}/s a?b", f"FILE://{tmp_path}/s a?b"]
    assert [run(is_there(open_store(place), CONTENT.signature)) for place in places] == [True] * len(places)
    assert {open_store(place).url for place in places} == {f"file://{tmp_path}/s a?b"}
    assert open_store("x", StoreOptions(name="attic")).name == "attic"


def test_what_is_no_place_or_no_option_is_refused() -> None:
    for place in ("file://", "file://localhost/srv/x", "a\0b"):
        with pytest.raises(InvalidArgument, match="names no directory"):
            open_store(place)
    for place in ("file:/abs/path", "s3:bucket/x", "http:/host", "store:x", "data:,x"):
        with pytest.raises(InvalidArgument, match="is no place for a store without '//'"):
            open_store(place)
    with pytest.raises(InvalidArgument, match="unknown storage_options for a directory: anon, key") as raised:
        open_store("/tmp/x", StoreOptions(storage_options={"key": "secret", "anon": True}))
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(StoreOptions(storage_options={"key": "secret"}))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_no_link_on_the_way_to_a_content_is_followed(store: Directory, root: Path, depth: int) -> None:
    """Whoever may write to the directory cannot have other files read, or have contents written elsewhere."""
    run(store.put(CONTENT))
    place = [object_of(root), object_of(root).parent, object_of(root).parent.parent][depth]
    place.rename(root.parent / "elsewhere")
    place.symlink_to(root.parent / "elsewhere")

    with pytest.raises(PermissionDenied, match="link"):
        run(got(store, CONTENT.signature))
    with pytest.raises(PermissionDenied, match="link"):
        run(store.put(CONTENT))


def test_a_pipe_in_place_of_a_content_is_not_waited_for(store: Directory, root: Path) -> None:
    object_of(root).parent.mkdir(parents=True)
    os.mkfifo(object_of(root))

    with pytest.raises(PermissionDenied, match="link or a device"):
        run(got(store, CONTENT.signature))


def test_a_content_that_a_power_cut_left_short_is_replaced(store: Directory, root: Path) -> None:
    run(store.put(CONTENT))
    object_of(root).write_bytes(b"he")

    run(store.put(CONTENT))

    assert run(got(store, CONTENT.signature)) == b"hello"
    assert len(files(root)) == 1


def test_a_content_that_is_there_is_never_written_to(store: Directory, root: Path) -> None:
    run(store.put(CONTENT))
    before = object_of(root).stat()
    run(store.put(CONTENT, durable=True))
    with object_of(root).open("rb") as file:
        run(store.take(file))

    after = object_of(root).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_a_killed_writer_left_is_swept_when_it_is_old(store: Directory, root: Path) -> None:
    code = f"""
import asyncio, os, signal
from xooai.content import MemoryContent
from xooai_fsspec.directory import Directory
class Endless(MemoryContent):
    async def read(self, start=0, end=None):
        yield bytes(3 << 20)
        while not os.listdir({str(root / ".xooai-incoming")!r}):
            await asyncio.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
        yield b""
content = Endless(b"")
content.size = 1 << 30
asyncio.run(Directory({str(root)!r}).put(content))
"""
    (root / ".xooai-incoming").mkdir(parents=True)
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr
    assert len(files(root)) == 1

    assert run(store.sweep()) == 0
    os.utime(files(root)[0], (0, 0))
    assert run(store.sweep()) == 1
    assert files(root) == []


def test_a_durable_put_replaces_what_is_there_and_is_another(store: Directory, root: Path) -> None:
    """As a disk may lose bytes of a file and keep its size."""
    for put in (lambda: store.put(CONTENT, durable=True), lambda: store.take(io.BytesIO(b"hello"), durable=True)):
        run(store.put(CONTENT))
        object_of(root).write_bytes(bytes(5))
        run(put())
        assert run(got(store, CONTENT.signature)) == b"hello"


def test_what_is_no_file_is_not_taken_for_a_content(store: Directory, root: Path) -> None:
    object_of(root).parent.mkdir(parents=True)
    object_of(root).symlink_to("hello")  # whose own size is that of the content
    with pytest.raises(PermissionDenied, match="link"):
        run(store.take(io.BytesIO(b"hello")))

    object_of(root).unlink()
    os.mkfifo(object_of(root))
    with pytest.raises(PermissionDenied, match="link"):
        run(store.take(io.BytesIO(b"hello")))


def test_without_links_what_is_there_stays(store: Directory, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    run(store.put(CONTENT, durable=True))
    before = object_of(root).stat().st_ino
    run(store.take(io.BytesIO(b"hello")))

    assert object_of(root).stat().st_ino == before
    assert files(root) == [object_of(root)]


def test_a_file_that_does_not_wait_is_not_taken_for_one_that_ends(store: Directory) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"hel")
    with (
        os.fdopen(writing, "wb"),
        os.fdopen(reading, "rb", buffering=0) as file,
        pytest.raises(InvalidArgument, match="blocking"),
    ):
        run(store.take(file))


def test_a_take_that_is_cancelled_leaves_its_file_alone(store: Directory) -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.entered, self.go_on, self.is_in_use = threading.Event(), threading.Event(), False

        def readinto(self, buffer: Any) -> int:
            self.is_in_use = True
            self.entered.set()
            self.go_on.wait(30)
            self.is_in_use = False
            return 1

    async def cancel() -> None:
        file: Any = Slow()
        taking = asyncio.ensure_future(store.take(file))
        await asyncio.to_thread(file.entered.wait)
        taking.cancel()
        asyncio.get_running_loop().call_later(0.05, file.go_on.set)
        await asyncio.wait([taking])
        assert not file.is_in_use

    run(cancel())


@pytest.mark.parametrize("is_there", [False, True])
def test_a_durable_put_has_the_content_and_every_name_on_its_way_on_the_disk(
    store: Directory, root: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    synced = set()

    def fsync(fd: int, real: Any = os.fsync) -> None:
        synced.add(os.fstat(fd).st_ino)
        real(fd)

    if is_there:
        run(store.put(CONTENT))
    monkeypatch.setattr(os, "fsync", fsync)
    run(store.put(CONTENT, durable=True))

    place = object_of(root)
    assert {path.stat().st_ino for path in (place, *list(place.parents)[:4])} <= synced


@pytest.mark.parametrize("folder", [".", ".xooai-incoming", object_of(Path()).parts[0], object_of(Path()).parent])
def test_nothing_is_put_where_others_may_write(store: Directory, root: Path, folder: str) -> None:
    """They could put something else in the place of what is written."""
    (root / folder).mkdir(parents=True, mode=0o700)
    (root / folder).chmod(0o777)
    for putting in (store.put(CONTENT), store.take(io.BytesIO(b"hello"))):
        with pytest.raises(PermissionDenied, match="others may write"):
            run(putting)
    run(store.aclose())
    assert files(root) == []


def test_files_of_others_among_the_folders_are_not_listed(store: Directory, root: Path) -> None:
    run(store.put(CONTENT))
    (root / "00" / "00").mkdir(parents=True)
    for foreign in ("ab", "00/01", f"00/00/{'f' * 64}"):
        (root / foreign).write_bytes(b"x")
    (root / "00" / "02").symlink_to(root)

    async def listed() -> list[str]:
        return [entry.signature async for entry in store.entries()]

    assert run(listed()) == [CONTENT.signature]


def test_a_sweep_removes_drafts_and_nothing_else(store: Directory, root: Path) -> None:
    kept = [root / "incoming" / "thesis", *(root / ".xooai-incoming" / name for name in ("notes", "A" * 32))]
    draft, folder, link = (root / ".xooai-incoming" / (digit * 32) for digit in "012")
    for path in (*kept, draft, folder / "inner"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    os.utime(folder, (0, 0))
    link.symlink_to(kept[0])

    assert run(store.sweep(-60)) == 1
    assert set(files(root)) == {*kept, folder / "inner", link}


def test_a_put_whose_draft_was_swept_fails_and_may_be_repeated(store: Directory, root: Path) -> None:
    class Swept(MemoryContent):
        async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
            yield bytes(2 << 20)
            while not files(root):  # noqa: ASYNC110 - what it waits for is a file
                await asyncio.sleep(0.001)
            await store.sweep(-60)
            yield bytes(2 << 20)

    content = Swept(bytes(4 << 20))
    with pytest.raises(Unavailable):
        run(store.put(content))
    assert files(root) == []

    run(store.put(MemoryContent(bytes(4 << 20))))
    assert run(is_there(store, content.signature))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may have more bytes than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("is_file", [False, True], ids=["bytes", "file"])
def test_a_store_without_room_says_so_and_serves_on(
    store: Directory, root: Path, tmp_path: Path, is_file: bool
) -> None:
    (tmp_path / "given").write_bytes(bytes_of(3 << 20))
    content = run(FileContent.of(tmp_path / "given")) if is_file else MemoryContent(bytes_of(3 << 20))
    run(store.put(CONTENT))
    with largest_file(1 << 20):
        with pytest.raises(ResourceExhausted, match="the store 'file' is full") as raised:
            run(store.put(content))
        assert run(got(store, CONTENT.signature)) == b"hello"
    assert raised.value.reason == "storage"
    run(store.aclose())
    assert files(root) == [object_of(root)]

    run(store.put(content))
    assert run(got(store, content.signature)) == bytes_of(3 << 20)


def test_without_a_free_descriptor_nothing_is_lost(store: Directory, root: Path) -> None:
    run(store.put(CONTENT))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(ResourceExhausted) as putting:
            run(store.put(MemoryContent(b"another")))
        with pytest.raises(ResourceExhausted):
            run(got(store, CONTENT.signature))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert putting.value.reason == "load"
    run(store.aclose())
    assert files(root) == [object_of(root)]
    assert run(got(store, CONTENT.signature)) == b"hello"


def test_a_file_that_is_put_from_is_not_taken_for_the_store(store: Directory, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="the file that is to be put is not there"):
        run(store.put(FileContent(tmp_path / "none", CONTENT.signature, 5)))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="no regular file"):
        run(store.put(FileContent(tmp_path / "pipe", CONTENT.signature, 5)))
    assert isinstance(FileContent(tmp_path, CONTENT.signature, 5), OnDisk)


def test_a_reader_that_leaves_while_a_thread_reads_leaves_no_descriptor(store: Directory) -> None:
    content = MemoryContent(bytes_of(8 << 20))
    run(store.put(content))
    before = set(os.listdir("/proc/self/fd"))

    async def leave() -> None:
        for _ in range(20):
            reading = asyncio.ensure_future(got(store, content.signature))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])

    asyncio.run(leave())  # which waits for its threads

    assert set(os.listdir("/proc/self/fd")) == before


def test_who_leaves_at_any_moment_leaves_no_descriptor_and_no_draft(root: Path, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(bytes_of(2 << 20))
    content = run(FileContent.of(tmp_path / "given"))
    before = set(os.listdir("/proc/self/fd"))

    async def leave() -> None:
        async with aclosing(Directory(str(root))) as store:
            for turns in range(60):
                work = (store.put, store.open)[turns % 2]
                given: Any = (content, content.signature)[turns % 2]
                leaving = asyncio.ensure_future(work(given))
                for _ in range(turns):
                    await asyncio.sleep(0)
                leaving.cancel()
                await asyncio.wait([leaving])
                if not leaving.cancelled() and leaving.exception() is None and (file := leaving.result()):
                    file.close()
                await store.delete(content.signature)

    asyncio.run(leave())

    assert set(os.listdir("/proc/self/fd")) - before == set()  # what others had may have been closed meanwhile
    assert files(root) == []


def test_a_put_and_a_get_of_much_hold_little(store: Directory, tmp_path: Path) -> None:
    """What is read of one content is bounded, however slow the other side is."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(96 << 20)
    code = f"""
import asyncio, resource
from contextlib import aclosing
from xooai.content import FileContent
from xooai_fsspec.directory import Directory
class Streamed:
    def __init__(self, content):
        self.signature, self.size, self.read = content.signature, content.size, content.read
async def main():
    store = Directory({str(tmp_path / "s")!r})
    content = await FileContent.of({str(tmp_path / "large")!r})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await store.put(content)
    await store.delete(content.signature)
    await store.put(Streamed(content))
    size = 0
    async with aclosing(store.get(content.signature)) as chunks:
        async for chunk in chunks:
            size += len(chunk)
    await store.aclose()
    print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    size, grown = map(int, re.findall(r"\d+", ended.stdout))

    assert size == 96 << 20
    assert grown < 32 << 10, f"{grown} KiB"


def test_many_threads_with_stores_of_their_own_put_the_same(root: Path) -> None:
    data = bytes_of(1 << 20)
    failures: list[BaseException] = []

    def put() -> None:
        async def once() -> None:
            async with aclosing(Directory(str(root))) as store:
                await store.put(MemoryContent(data), durable=True)

        try:
            asyncio.run(once())
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [path.name for path in files(root)] == [MemoryContent(data).signature.removeprefix("sha256:")]
