"""What a store can do beyond put and get, each where it has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn
from urllib.request import urlopen

import pytest

from xooai.content import MemoryContent
from xooai.errors import DataLoss
from xooai.signature import sign
from xooai.store import Copies, Deletes, Entry, Lists, Opens, Presigns, Sizes, Sweeps, Takes
from xooai.testing.alone import on_a_loop
from xooai.testing.stores.fixtures import Fixtures, Gated, Open, bytes_of, got, is_there

__all__ = ["AbilityTests"]

A_DAY = 86_400.0  # seconds by which the clock of a store may differ from ours


class AbilityTests(Fixtures):
    """Sizes, Deletes, Lists, Opens, Takes, Presigns, Copies and Sweeps."""

    @pytest.mark.parametrize("size", [0, 1, 100_000])
    @on_a_loop
    async def test_it_tells_the_size(self, open_store: Open, size: int) -> None:
        async with aclosing(open_store()) as store:
            if not isinstance(store, Sizes):
                _lacks("Sizes")
            await store.put(MemoryContent(bytes_of(size)))

            assert await store.size(sign(bytes_of(size))) == size

    @on_a_loop
    async def test_what_is_deleted_is_gone_and_may_be_put_again(self, open_store: Open) -> None:
        content, other = MemoryContent(b"one"), MemoryContent(b"other")
        async with aclosing(open_store()) as store:
            if not isinstance(store, Deletes):
                _lacks("Deletes")
            await store.put(content)
            await store.put(other)
            await store.delete(content.signature)
            assert not await is_there(store, content.signature)
            assert await is_there(store, other.signature)

            await store.put(content)
            assert await is_there(store, content.signature)

    @on_a_loop
    async def test_it_lists_what_is_there(self, open_store: Open) -> None:
        contents = [MemoryContent(bytes_of(seed, seed)) for seed in range(20)]
        before = time.time()
        async with aclosing(open_store()) as store:
            if not isinstance(store, Lists):
                _lacks("Lists")
            for content in contents:
                await store.put(content)
            found = [entry async for entry in store.entries()]

        assert all(type(entry) is Entry for entry in found)
        assert sorted((entry.signature, entry.size) for entry in found) == sorted(
            (content.signature, content.size) for content in contents
        )
        assert all(abs(entry.modified - before) < A_DAY for entry in found)

    @on_a_loop
    async def test_it_opens_a_content_as_a_file(self, open_store: Open) -> None:
        content = MemoryContent(bytes_of(100_000))
        async with aclosing(open_store()) as store:
            if not isinstance(store, Opens):
                _lacks("Opens")
            await store.put(content)
            with await store.open(content.signature) as file:
                assert file.fileno() >= 0
                assert file.read() == bytes_of(100_000)
                file.seek(500)
                assert file.read(10) == bytes_of(100_000)[500:510]

    @pytest.mark.parametrize("size", [0, 1000, 3_000_000])
    @on_a_loop
    async def test_it_takes_a_file_and_tells_its_signature(self, open_store: Open, size: int, tmp_path: Path) -> None:
        path = tmp_path / "given"
        path.write_bytes(b"before" + bytes_of(size))
        async with aclosing(open_store()) as store:
            if not isinstance(store, Takes):
                _lacks("Takes")
            for durable in (False, True):
                with path.open("rb") as file:
                    file.seek(6)
                    assert await store.take(file, durable=durable) == (sign(bytes_of(size)), size)

            assert await got(store, sign(bytes_of(size))) == bytes_of(size)

    @on_a_loop
    async def test_its_urls_are_read_without_credentials(self, open_store: Open) -> None:
        content = MemoryContent(bytes_of(100_000))
        async with aclosing(open_store()) as store:
            if not isinstance(store, Presigns):
                _lacks("Presigns")
            await store.put(content)
            url = await store.presign(content.signature, 60)

            assert await asyncio.to_thread(_fetched, url) == bytes_of(100_000)
            assert not [secret for secret in self.secrets if secret in url]

    @on_a_loop
    async def test_it_copies_from_a_store_of_its_own_kind_only(self, open_store: Open) -> None:
        content = MemoryContent(bytes_of(100_000))
        async with aclosing(open_store()) as store, aclosing(open_store()) as other:
            if not isinstance(store, Copies):
                _lacks("Copies")
            await other.put(content)
            assert await store.copy_from(other, content.signature)
            assert await got(store, content.signature) == bytes_of(100_000)

            assert not await store.copy_from(Stranger(), content.signature)

    @on_a_loop
    async def test_a_sweep_spares_contents_and_puts_under_way(self, open_store: Open) -> None:
        content, complete = Gated(bytes_of(self.large)), MemoryContent(b"complete")
        async with aclosing(open_store()) as store, aclosing(open_store()) as other:
            if not isinstance(other, Sweeps):
                _lacks("Sweeps")
            await store.put(complete)
            putting = asyncio.ensure_future(store.put(content))
            await content.reach(putting)
            await other.sweep()
            content.released.set()
            await putting

            assert await got(store, content.signature) == bytes_of(self.large)
            assert await got(store, complete.signature) == b"complete"

    @on_a_loop
    async def test_puts_that_fail_leave_nothing_to_sweep(self, open_store: Open) -> None:
        content = Gated(bytes_of(self.large))
        async with aclosing(open_store()) as other:
            if not isinstance(other, Sweeps):
                _lacks("Sweeps")
            async with aclosing(open_store()) as store:
                putting = asyncio.ensure_future(store.put(content))
                await content.reach(putting)
                putting.cancel()
                await asyncio.wait([putting])
                with pytest.raises(DataLoss):
                    await store.put(MemoryContent(bytes_of(self.large), sign(b"other")))

            assert await other.sweep(-A_DAY) == 0


class Stranger:
    """A store of another kind, which has nothing."""

    name, url = "stranger", "stranger://"

    async def put(self, content: object, *, durable: bool = False) -> None:
        raise AssertionError("nobody asked it to")

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        raise AssertionError("nobody asked it to")
        yield b""

    async def aclose(self) -> None:
        raise AssertionError("nobody asked it to")


def _lacks(ability: str) -> NoReturn:
    pytest.skip(f"the store has not what xooai.store.{ability} asks for")


def _fetched(url: str) -> bytes:
    with urlopen(url, timeout=30) as answer:
        found: bytes = answer.read()
    return found
