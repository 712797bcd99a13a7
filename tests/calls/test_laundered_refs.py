"""A ref of a peer that went through a plain value: a handler that passes it on for a document does not have it opened."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import HERE

pytest.importorskip("uvicorn")

from xooai import Executor, File, Internal, post

SECRET = b"of this machine"


class Reading(Executor):
    @post
    def read(self, doc: File) -> bytes:
        return doc.read()


class Passing(Executor):
    """Passes on what it was given, by each way."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.own = url, Reading()

    @post
    async def here(self, value: dict[str, Any]) -> bytes:
        return bytes(await self.own.apost("read", doc=value))

    @post
    def here_blocking(self, value: dict[str, Any]) -> bytes:
        return bytes(self.own.post("read", doc=value))

    @post
    async def there(self, value: dict[str, Any]) -> bytes:
        async with Executor(f"{self.url}/reading") as other:
            return bytes(await other.apost("read", doc=value))

    @post
    async def of_its_own(self, path: str) -> bytes:
        return bytes(await self.own.apost("read", doc=File(ref=path)))


@pytest.fixture
def passing() -> Iterator[Executor]:
    with (
        Reading() as reading,
        Passing(reading.start(HERE)[0]) as serving,
        Executor(f"{serving.start(HERE)[0]}/passing") as client,
    ):
        yield client


@pytest.mark.parametrize("way", ["here", "here_blocking", "there"])
def test_a_dict_of_a_peer_opens_no_file(
    passing: Executor, tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    with caplog.at_level(logging.ERROR, "xooai"), pytest.raises(Internal):
        passing.post(way, value={"ref": str(tmp_path / "secret")})
    assert "a handler gave a dict with the ref" in caplog.text


def test_what_a_handler_names_itself_is_read(passing: Executor, tmp_path: Path) -> None:
    (tmp_path / "own").write_bytes(SECRET)
    assert passing.post("of_its_own", path=str(tmp_path / "own")) == SECRET


def test_outside_of_handlers_a_dict_still_stands_for_a_document(tmp_path: Path) -> None:
    (tmp_path / "own").write_bytes(SECRET)
    with Reading() as reading:
        assert reading.post("read", doc={"ref": str(tmp_path / "own")}) == SECRET
