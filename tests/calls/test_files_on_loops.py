"""A file that is fetched as it is read, and the loop that fetches it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from xooai import Executor, FailedPrecondition, File, post
from xooai.contents import WHOLE


class Reading(Executor):
    @post
    async def here(self, doc: File) -> bytes:
        return last(await asyncio.to_thread(doc.open))

    @post
    async def beside(self, doc: File) -> bytes:
        return await asyncio.to_thread(lambda: last(doc.open()))


def last(file: object) -> bytes:
    with file:  # type: ignore[attr-defined]
        file.seek(-1, os.SEEK_END)  # type: ignore[attr-defined]
        return bytes(file.read())  # type: ignore[attr-defined]


@pytest.fixture
def client() -> Iterator[Executor]:
    with Reading(store="films=memory://films") as serving:
        url = serving.start("http://127.0.0.1:0")[0]
        with Executor(f"{url}/reading", store="films=memory://films") as client:
            yield client


def test_it_is_refused_on_that_loop_where_it_would_wait_for_ever(client: Executor, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(bytes(WHOLE) + b"z")
    film = File(ref=str(tmp_path / "film"))

    assert client.post("beside", doc=film) == b"z"
    with pytest.raises(FailedPrecondition, match="would block the loop that serves; read it in a thread"):
        client.post("here", doc=film, timeout=10)
