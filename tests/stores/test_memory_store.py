"""The store in memory passes the suite, and is one place for all of a process."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from xooai.content import MemoryContent
from xooai.errors import InvalidArgument
from xooai.plugins import open_store
from xooai.store import StoreOptions
from xooai.testing import MemoryStore, StoreTests
from xooai.testing.stores.fixtures import Open, is_there


class TestMemoryStore(StoreTests):
    large = 3_000_000

    @pytest.fixture
    def open_store(self) -> Open:
        place = secrets.token_hex()
        return lambda: open_store(f"memory://{place}")


def test_a_place_is_emptied_for_all_who_have_it_open() -> None:
    store, other = MemoryStore("cleared"), MemoryStore("cleared")
    asyncio.run(store.put(MemoryContent(b"x")))
    other.clear()

    assert not asyncio.run(is_there(store, MemoryContent(b"x").signature))


def test_what_is_no_place_or_no_option_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="memory://name"):
        open_store("memory://")
    with pytest.raises(InvalidArgument, match="unknown storage_options for memory://: key"):
        open_store("memory://x", StoreOptions(storage_options={"key": 1}))
