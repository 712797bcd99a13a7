"""The cache gives contents that are right, fetches what it has not, and never keeps what is wrong."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from cache_origins import Bare, Origin, files_of, object_of, read

from xooai.cache import Cache
from xooai.content import FileContent, MemoryContent
from xooai.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from xooai.signature import sign
from xooai.testing.stores.fixtures import Broken, Once, bytes_of

DATA = bytes_of(3 << 20)
NAME = sign(DATA)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "above" / "cache"


def test_a_content_is_fetched_once_wherever_it_is_said_to_be(root: Path) -> None:
    async def main() -> None:
        first, second = Origin(DATA), Origin(DATA)
        cache, later = Cache(str(root)), Cache(str(root))
        assert await read(cache, NAME, first) == DATA
        assert await read(cache, NAME, second) == DATA
        assert await read(later, NAME, second) == DATA
        assert (first.gets, second.gets, second.sizes) == (1, 0, 0)
        assert (cache.counts.hits, cache.counts.misses, later.counts.hits, later.counts.misses) == (1, 1, 1, 0)
        await cache.aclose()
        await later.aclose()

    asyncio.run(main())


def test_a_folder_of_a_later_form_is_left_as_it_is_and_served_around(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        root.mkdir(parents=True, mode=0o700)
        (root / "form").write_text("2\n")
        origin, cache = Origin(DATA), Cache(str(root))
        assert await read(cache, NAME, origin) == DATA
        await cache.aclose()

    asyncio.run(main())
    assert [one.name for one in root.iterdir()] == ["form"]
    told = f"another version of xooai has written the cache at {root}, in form '2'; this one reads form 1"
    assert told in caplog.text


def test_a_folder_that_says_the_form_of_now_is_used(root: Path) -> None:
    async def main() -> None:
        root.mkdir(parents=True, mode=0o700)
        (root / "form").write_text("1\n")
        origin, cache = Origin(DATA), Cache(str(root))
        assert [await read(cache, NAME, origin) == DATA for _ in range(2)] == [True, True]
        assert origin.gets == 1
        await cache.aclose()

    asyncio.run(main())


def test_what_has_another_byte_is_another_content(root: Path) -> None:
    async def main() -> None:
        changed = b"x" + DATA[1:]
        origin, cache = Origin(DATA, changed), Cache(str(root))
        assert await read(cache, NAME, origin) == DATA
        assert await read(cache, sign(changed), origin) == changed
        assert origin.gets == 2

    asyncio.run(main())


def test_a_reader_has_a_file_that_seeks_and_outlives_its_removal(root: Path) -> None:
    async def main() -> None:
        cache = Cache(str(root))
        with await cache.open(MemoryContent(DATA)) as file:
            object_of(root, NAME).unlink()
            assert os.fstat(file.fileno()).st_size == len(DATA)
            file.seek(1 << 20)
            assert file.read(10) == DATA[1 << 20 : (1 << 20) + 10]
            assert not file.writable()
            file.seek(0)
            assert file.read() == DATA
        assert await cache.find(NAME) is None

    asyncio.run(main())


def test_a_content_is_found_only_when_it_is_here(root: Path) -> None:
    async def main() -> None:
        cache = Cache(str(root))
        assert await cache.find(NAME) is None
        with await cache.open(MemoryContent(DATA)):
            pass
        file = await cache.find(NAME)
        assert file is not None
        with file:
            assert file.read() == DATA

    asyncio.run(main())


def test_a_content_in_a_file_is_put_from_there(root: Path, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "given").write_bytes(DATA)
        with await Cache(str(root)).open(await FileContent.of(tmp_path / "given")) as file:
            assert file.read() == DATA

    asyncio.run(main())


def test_an_empty_content_is_one(root: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(b""), Cache(str(root))
        assert [await read(cache, sign(b""), origin) for _ in range(2)] == [b"", b""]
        assert origin.gets == 1

    asyncio.run(main())


def test_a_store_that_tells_no_sizes_is_read_once_too(root: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA), Cache(str(root))
        assert [await read(cache, NAME, Bare(origin)) for _ in range(2)] == [DATA, DATA]
        assert origin.gets == 1
        with pytest.raises(NotFound):
            await read(cache, sign(b"none"), Bare(origin))

    asyncio.run(main())


@pytest.mark.parametrize(
    "content",
    [
        Broken(DATA, b"x" + DATA[1:]),
        Broken(DATA, DATA[:-1]),
        Broken(DATA, DATA + b"x"),
        Broken(DATA, b""),
    ],
    ids=["changed", "short", "long", "empty"],
)
def test_a_content_that_is_not_what_its_signature_says_is_never_seen(root: Path, content: Broken) -> None:
    async def main() -> None:
        cache = Cache(str(root))
        with pytest.raises(DataLoss):
            await cache.open(content)
        assert await cache.find(content.signature) is None
        await cache.aclose()
        assert files_of(root) == []

    asyncio.run(main())


def test_a_store_without_sizes_that_gives_another_content_is_told(root: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(), Cache(str(root))
        origin._held[NAME] = (b"another", 0.0)
        with pytest.raises(DataLoss):
            await read(cache, NAME, Bare(origin))
        assert files_of(root) == []

    asyncio.run(main())


def test_a_size_that_is_not_the_contents_is_told_whether_it_is_here_or_not(root: Path) -> None:
    async def main() -> None:
        cache, wrong = Cache(str(root)), MemoryContent(DATA)
        wrong.size += 1
        with pytest.raises(DataLoss):
            await cache.open(wrong)
        with await cache.open(MemoryContent(DATA)):
            pass
        with pytest.raises(DataLoss, match="it should have"):
            await cache.open(wrong)

    asyncio.run(main())


def test_what_the_source_tells_its_reader_learns_and_the_next_reader_tries_again(root: Path) -> None:
    async def main() -> None:
        cache = Cache(str(root))
        with pytest.raises(Unavailable, match="away"):
            await cache.open(Broken(DATA, DATA[:100], Unavailable("the source went away")))
        with pytest.raises(NotFound):
            await cache.get(NAME, Origin())
        with pytest.raises(InvalidArgument, match="no signature"):
            await cache.get("../../etc/passwd", Origin())
        once = Once(DATA)
        with await cache.open(once):
            assert once.reads == 1
        assert cache.counts.around == 0

    asyncio.run(main())


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(104, "Connection reset by peer")], ids=repr)
@pytest.mark.parametrize("is_sized", [True, False], ids=["size known", "size unknown"])
def test_what_the_system_tells_a_source_is_nothing_wrong_with_the_cache(
    root: Path, error: OSError, is_sized: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cache, failing = Cache(str(root)), Failing(error, is_sized)
        what = error.strerror or "TimeoutError"
        with pytest.raises(Unavailable, match=f"the source of {failing.signature} does not work: {what}") as raised:
            await cache.open(failing)
        assert raised.value.__cause__ is error
        with pytest.raises(Unavailable, match="the source"):
            await cache.read(failing)
        with pytest.raises(Unavailable, match="the source"):
            async for _ in cache.stream(failing):
                pass
        assert (failing.reads, cache.counts.around) == (3, 0)

    asyncio.run(main())
    assert caplog.records == []


class Failing:
    """A source that fails after its first byte, by an error that is none of ours."""

    def __init__(self, error: OSError, is_sized: bool) -> None:
        self.signature, self.size, self.reads = NAME, len(DATA) if is_sized else None, 0
        self._error = error

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        yield DATA[:1]
        raise self._error


def test_opening_it_makes_nothing_and_what_it_makes_is_its_users_alone(root: Path) -> None:
    async def main() -> None:
        cache = Cache(str(root))
        assert not root.exists()
        with await cache.open(MemoryContent(DATA)):
            pass

    old = os.umask(0)
    try:
        asyncio.run(main())
    finally:
        os.umask(old)
    assert len(files_of(root)) == 2
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (root.parent, root, *root.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert (root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")


def test_a_cache_whose_folder_is_removed_while_it_is_in_use_works_on(root: Path) -> None:
    async def main() -> None:
        origin, cache = Origin(DATA), Cache(str(root))
        await read(cache, NAME, origin)
        root.rename(root.parent / "gone")
        assert [await read(cache, NAME, origin) for _ in range(2)] == [DATA, DATA]
        assert origin.gets == 2
        assert cache.counts.around == 0

    asyncio.run(main())
