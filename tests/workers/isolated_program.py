"""A program that serves executors in processes of their own, and one that lives where calls come in.

`python isolated_program.py URLS WORKERS [NAME...]`, URLS with commas between them, the names of those that are isolated.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Event

from xooai import Executor, File, InvalidArgument, NotFound, Text, current, post, serve, stream


class Model(Executor):
    """What is isolated."""

    def __init__(self, language: str = "en") -> None:
        super().__init__()
        self.language = language
        self.let_go = Event()
        if told := os.environ.get("TEST_MODELS"):
            with Path(told).open("a") as made:
                made.write(f"{os.getpid()}\n")

    @post
    async def who(self) -> dict[str, str]:
        call = current()
        return {
            "pid": str(os.getpid()),
            "language": self.language,
            "peer": call.peer,
            "identity": call.identity or "",
            "id": call.id,
            "remaining": "" if call.remaining is None else f"{call.remaining:.1f}",
            **{name: value for name, value in call.metadata.items() if name.startswith("x-")},
        }

    @post
    async def noop(self) -> None: ...

    @post
    def read(self, doc: Text) -> str:
        return f"{doc.ref is None} {doc.read()[:20]} {len(doc.read())}"

    @post
    def grow(self, size: int) -> File:
        return File(value=b"a" * size)

    @post
    def kept(self, name: str) -> File:
        return File(ref=name)

    @post
    def numbers(self, to: int) -> list[int]:
        return list(range(to))

    @post
    def refuse(self) -> None:
        current().reply_metadata["x-told"] = "beside"
        raise InvalidArgument("not so", details={"text": "much"})

    @stream
    async def break_off(self) -> AsyncIterator[int]:
        yield 1
        raise InvalidArgument("no more")

    @post
    def fail(self) -> None:
        raise RuntimeError("secret")

    @post(batch_size=64)
    def together(self, number: list[int]) -> list[int]:
        """How many items were in the batch. One with a 0 waits to be let go."""
        if 0 in number:
            self.let_go.wait(30)
        return [len(number)] * len(number)

    @post
    async def release(self) -> None:
        self.let_go.set()

    @post
    async def wait(self, seconds: float, note: str) -> None:
        try:
            Path(note).write_text("began")
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            Path(note).write_text("cancelled")
            raise

    @post(idempotent=True)
    async def once_more(self, note: str) -> str:
        """Wait for ever, the first time."""
        if not Path(note).exists():
            Path(note).write_text("began")
            await asyncio.sleep(60)
        return str(os.getpid())

    @post
    def charge(self, note: str, how: str) -> None:
        """Note that it ran, then fail."""
        with Path(note).open("a") as runs:
            runs.write("ran\n")
        if how == "ends":
            os._exit(1)
        raise NotFound("declined")

    @stream
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @stream
    def total(self, numbers: Iterator[int]) -> int:
        return sum(numbers)

    @stream
    async def double(self, texts: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for text in texts:
            yield Text(value=text.read() * 2)

    @stream
    async def endless(self, note: str, size: int) -> AsyncIterator[str]:
        number = 0
        while True:
            number += 1
            Path(note).write_text(str(number))
            yield "a" * size


class Front(Executor):
    """What lives where calls come in."""

    @post
    async def pid(self) -> str:
        return str(os.getpid())


if __name__ == "__main__":
    serve(
        Model(language="de"),
        Front,
        at=sys.argv[1].split(","),
        workers=int(sys.argv[2]),
        isolated=tuple(sys.argv[3:]),
    )
