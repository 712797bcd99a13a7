"""What goes wrong: contents that are others, puts that end in the middle, names that are none, contents that are not there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from xooai.content import MemoryContent
from xooai.errors import DataLoss, InvalidArgument, NotFound
from xooai.signature import sign
from xooai.store import Deletes, Lists, Opens, Presigns, Sizes
from xooai.testing.alone import on_a_loop
from xooai.testing.stores.fixtures import Broken, Fixtures, Gated, Open, bytes_of, got, is_there

__all__ = ["WrongTests"]

UNSIGNED = [
    "",
    "x",
    "../../etc/passwd",
    "sha256:",
    f"sha256:{'A' * 64}",
    f"md5:{'0' * 64}",
    f"sha256:{'0' * 64}\n",
    f"{'0' * 64}",
]
MISSING = sign(b"nobody has put this")


class Refused(Exception):
    """A content that cannot be read."""


class WrongTests(Fixtures):
    """Puts and gets that do not go well."""

    @pytest.mark.parametrize("how", ["changed", "short", "long", "none", "much"])
    @pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
    @on_a_loop
    async def test_a_content_that_is_another_is_not_stored(self, open_store: Open, how: str, is_large: bool) -> None:
        data = bytes_of(self.large if is_large else 1000)
        given = {"changed": data[:-1] + b"?", "short": data[:-1], "long": data + b"?", "none": b"", "much": data * 2}[
            how
        ]
        content = Broken(data, given)
        async with aclosing(open_store()) as store:
            with pytest.raises(DataLoss):
                await store.put(content)
            assert not await is_there(store, content.signature)
            assert await left(store) == []

            await store.put(MemoryContent(data))
            assert await got(store, content.signature) == data

    @pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
    @on_a_loop
    async def test_what_a_content_raises_reaches_who_puts_it(self, open_store: Open, is_large: bool) -> None:
        data = bytes_of(self.large if is_large else 1000)
        content = Broken(data, data[:-1], Refused("gone"))
        async with aclosing(open_store()) as store:
            with pytest.raises(Refused, match="gone"):
                await store.put(content)

            assert not await is_there(store, content.signature)
            assert await left(store) == []

    @on_a_loop
    async def test_a_put_that_is_cancelled_leaves_nothing(self, open_store: Open) -> None:
        content = Gated(bytes_of(self.large))
        async with aclosing(open_store()) as store:
            putting = asyncio.ensure_future(store.put(content))
            await content.reach(putting)
            putting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putting
            assert not await is_there(store, content.signature)
            assert await left(store) == []

            await store.put(MemoryContent(bytes_of(self.large)))
            assert await is_there(store, content.signature)

    @pytest.mark.parametrize("signature", UNSIGNED)
    @on_a_loop
    async def test_what_is_no_signature_names_nothing(self, open_store: Open, signature: str) -> None:
        async with aclosing(open_store()) as store:
            with pytest.raises(InvalidArgument):
                await got(store, signature)
            with pytest.raises(InvalidArgument):
                await store.put(MemoryContent(b"x", signature))
            if isinstance(store, Sizes):
                with pytest.raises(InvalidArgument):
                    await store.size(signature)
            if isinstance(store, Deletes):
                with pytest.raises(InvalidArgument):
                    await store.delete(signature)

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (-5, -1), (2, 1), (0, -1), (2**63, None)])
    @on_a_loop
    async def test_what_is_no_range_is_refused(self, open_store: Open, start: int, end: int | None) -> None:
        content = MemoryContent(b"12345")
        async with aclosing(open_store()) as store:
            await store.put(content)
            with pytest.raises(InvalidArgument):
                await got(store, content.signature, start, end)

    @pytest.mark.parametrize(("start", "end"), [(0, None), (0, 10), (0, 0), (5, None), (7, 9)])
    @on_a_loop
    async def test_what_is_not_there_is_not_found(self, open_store: Open, start: int, end: int | None) -> None:
        async with aclosing(open_store()) as store:
            with pytest.raises(NotFound) as raised:
                await got(store, MISSING, start, end)

        assert not [secret for secret in self.secrets if secret in str(raised.value)]

    @on_a_loop
    async def test_its_name_and_url_are_texts_without_secrets(self, open_store: Open) -> None:
        async with aclosing(open_store()) as store:
            assert store.name
            assert "://" in store.url
            assert not [secret for secret in self.secrets if secret in f"{store.name} {store.url} {store!r}"]

    @on_a_loop
    async def test_abilities_know_what_is_not_there(self, open_store: Open) -> None:
        async with aclosing(open_store()) as store:
            if isinstance(store, Sizes):
                assert await store.size(MISSING) is None
            if isinstance(store, Deletes):
                await store.delete(MISSING)
            if isinstance(store, Lists):
                assert [entry async for entry in store.entries()] == []
            if isinstance(store, Opens):
                with pytest.raises(NotFound):
                    await store.open(MISSING)
            if isinstance(store, Presigns):
                with pytest.raises(InvalidArgument):
                    await store.presign("x", 10)


async def left(store: object) -> list[str]:
    """The contents that a store lists, where it does."""
    return [entry.signature async for entry in store.entries()] if isinstance(store, Lists) else []
