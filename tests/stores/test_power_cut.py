"""What a directory and a cache hold after the power was cut at any instant: what was put to stay is there, nothing is called
right that is wrong, and all goes on as if nothing had been.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from cut_disk import Disk, disk

from xooai.cache import Cache, FromStore
from xooai.content import MemoryContent
from xooai.errors import DataLoss
from xooai.signature import sign
from xooai.testing.stores.fixtures import bytes_of, got
from xooai_fsspec.directory import Directory

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).with_name("power_cut.py")
INSTANTS = 20
APART = 0.6  # seconds at most from one to the next
MENDED = 20  # contents, of those lost at one instant
ORDERED = (
    "commit=1"  # seconds until ext4 writes its journal by itself, five else: there is more to see between two instants
)
WRITEBACK = "commit=1,data=writeback"  # which may say of a file that it is there before its bytes are


class Told(NamedTuple):
    """A content that was acknowledged."""

    seed: int
    size: int
    is_durable: bool
    signature: str

    @classmethod
    def of(cls, line: str) -> Told:
        seed, size, is_durable, signature = line.split()
        return cls(int(seed), int(size), is_durable == "1", signature)

    def content(self) -> MemoryContent:
        return MemoryContent(bytes_of(self.size, self.seed))


@dataclass
class Cut:
    """An instant: what was on the disk then, and what had been acknowledged before."""

    image: Path
    told: list[Told]


@contextmanager
def written(disk: Disk) -> Iterator[None]:
    """What is in memory is written to the disk at random times, as the system does by itself after half a minute or so."""
    is_over = threading.Event()

    def write() -> None:
        while not is_over.wait(random.uniform(0, APART)):
            subprocess.run(["sync", "-f", str(disk.root)], check=True)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield
    finally:
        is_over.set()
        writing.join()


def cuts_of(disk: Disk, what: str) -> list[Cut]:
    """The power is cut at random instants while contents come."""
    command = [sys.executable, str(PROGRAM), what, str(disk.root / "contents")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told: list[Told] = []
        has_begun = threading.Event()

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                told.append(Told.of(line))
                has_begun.set()

        listening = threading.Thread(target=listen)
        listening.start()
        try:
            assert has_begun.wait(60)
            cuts = []
            for _ in range(INSTANTS):
                time.sleep(random.uniform(0, APART))  # the instants are to be any
                before = list(told)
                cuts.append(Cut(disk.cut(), before))
            assert process.poll() is None
        finally:
            process.kill()
            listening.join()
    return cuts


async def is_found_out(store: Directory, signature: str) -> bool:
    """Whether who reads a content that is wrong is told so, and given nothing."""
    try:
        await Cache().read(FromStore(store, signature))
    except DataLoss:
        return True
    return False


async def right_in(store: Directory) -> set[str]:
    """What is there and right; all else that is there is found out."""
    right = set()
    async for entry in store.entries():
        if sign(await got(store, entry.signature)) == entry.signature:
            right.add(entry.signature)
        else:
            assert await is_found_out(store, entry.signature)
    return right


async def lost_in(root: Path, told: list[Told]) -> list[Told]:
    """What was acknowledged and is not there, or not right. Put once more it is, and no drafts are left."""
    store = Directory(str(root))
    right = await right_in(store)
    lost = [one for one in told if one.signature not in right]
    for one in lost[-MENDED:]:
        await store.put(one.content(), durable=True)
        assert sign(await got(store, one.signature)) == one.signature
    await store.sweep(-60)
    assert list((root / ".xooai-incoming").iterdir()) == []
    return lost


def all_lost(disk: Disk, cuts: list[Cut]) -> list[Told]:
    lost = []
    for cut in cuts:
        with disk.after(cut.image) as root:
            lost += asyncio.run(lost_in(root / "contents", cut.told))
    return lost


@pytest.mark.parametrize("options", [ORDERED, WRITEBACK])
def test_what_was_put_to_stay_is_there_after_a_power_cut_and_what_is_wrong_is_found_out(
    tmp_path: Path, options: str
) -> None:
    with disk(tmp_path, options) as made:
        with written(made):
            cuts = cuts_of(made, "store")
        lost = all_lost(made, cuts)

    assert len(cuts[-1].told) > INSTANTS
    assert [one for one in lost if one.is_durable] == []
    assert lost, "what nobody waited for cannot have been on the disk at all these instants"


def test_a_store_that_did_not_wait_for_the_disk_would_lose_what_was_put_to_stay(tmp_path: Path) -> None:
    with disk(tmp_path, ORDERED) as made:
        lost = all_lost(made, cuts_of(made, "hasty"))

    assert [one for one in lost if one.is_durable]


class Counted:
    """A content of which it is known whether it was read."""

    def __init__(self, told: Told) -> None:
        self.signature, self.size = told.signature, told.size
        self.is_read = False
        self._told = told

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.is_read = True
        async for chunk in self._told.content().read(start, end):
            yield chunk


async def kept_in(root: Path, told: list[Told]) -> int:
    """How much of what was brought is taken to be right as it is, which it is; all else is brought anew."""
    cache, kept = Cache(str(root)), 0
    for one in told:
        source = Counted(one)
        with await cache.open(source) as file:
            assert sign(file.read()) == source.signature
        kept += not source.is_read
    await cache.aclose()
    return kept


@pytest.mark.parametrize("options", [ORDERED, WRITEBACK])
def test_a_cache_gives_nothing_wrong_after_a_power_cut(tmp_path: Path, options: str) -> None:
    kept = told = 0
    with disk(tmp_path, options) as made:
        with written(made):
            cuts = cuts_of(made, "cache")
        for cut in cuts:
            with made.after(cut.image) as root:
                kept += asyncio.run(kept_in(root / "contents", cut.told))
            told += len(cut.told)

    assert 0 < kept < told
