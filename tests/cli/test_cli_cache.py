"""`xooai cache` shows, empties and verifies the cache that XOOAI_CACHE names."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from command_line import Xooai

from xooai.cache import Cache
from xooai.content import MemoryContent, key_of

CONTENTS = [MemoryContent(bytes([number]) * 10_000) for number in range(3)]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("XOOAI_CACHE", str(root))
    monkeypatch.setenv("XOOAI_CACHE_LIMIT", "1GiB")
    return root


async def kept() -> None:
    async with aclosing(Cache()) as cache:
        for content in CONTENTS:
            (await cache.open(content)).close()


def test_a_cache_that_is_not_there_is_not_made(xooai: Xooai, root: Path) -> None:
    assert xooai("cache", "info").out == f"folder        {root}\ncontents      none yet\n"
    assert xooai("cache", "clear").out == "removed: 0 (0 bytes)\n"
    assert xooai("cache", "verify").out == "right: 0 (0 bytes)\n"
    assert not root.exists()


def test_how_much_there_is_is_shown_where_nothing_more_may_be_kept(
    xooai: Xooai, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(kept())
    monkeypatch.setenv("XOOAI_CACHE_LIMIT", "0")
    assert "3 (36.0 KiB), at most 0 bytes" in xooai("cache", "info").out


def test_how_much_there_is_is_shown(xooai: Xooai, root: Path) -> None:
    asyncio.run(kept())
    rows = dict(line.split(maxsplit=1) for line in xooai("cache", "info").out.splitlines() if "on their" not in line)

    assert rows["folder"] == str(root)
    assert rows["contents"] == "3 (36.0 KiB), at most 1.0 GiB"
    assert rows["corrupt"] == "0 (0 bytes)"
    assert rows["last"].startswith("used")


def test_what_is_corrupt_is_moved_away_and_told_by_the_exit_code(xooai: Xooai, root: Path) -> None:
    asyncio.run(kept())
    assert xooai("cache", "verify").out == "right: 3 (36.0 KiB)\n"
    (root / "contents" / key_of(CONTENTS[1].signature)).write_bytes(b"other")

    ended = xooai("cache", "verify")

    assert ended.code == 1
    assert ended.out == f"corrupt, moved away: {CONTENTS[1].signature}\nright: 2 (24.0 KiB)\n"
    assert "corrupt       1 (4.0 KiB)" in xooai("cache", "info").out
    assert xooai("cache", "verify").code == 0


def test_emptied_it_has_nothing(xooai: Xooai, root: Path) -> None:
    asyncio.run(kept())
    assert xooai("cache", "clear").out == "removed: 3 (36.0 KiB)\n"
    assert [path for path in (root / "contents").rglob("*") if path.is_file()] == []
    assert "contents      0 (0 bytes)" in xooai("cache", "info").out
    asyncio.run(kept())
    assert "contents      3 " in xooai("cache", "info").out


@pytest.mark.parametrize("command", ["info", "clear", "verify"])
def test_a_folder_that_others_may_write_to_is_told(xooai: Xooai, root: Path, command: str) -> None:
    root.mkdir()
    root.chmod(0o777)

    ended = xooai("cache", command)

    assert ended.code == 1
    assert ended.line == f"xooai: other users may write to the cache at {root}; try: chmod go-w {root}"
