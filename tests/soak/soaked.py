"""An executor with endpoints of every kind, served over several drivers: what a soak calls.

python soaked.py CERTIFICATE URL...: serves until its standard input ends, and says where.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from vitals import note_complaints, vitals

from xooai import ComboDoc, Executor, File, InvalidArgument, Text, post, stream

__all__ = ["Page", "Soaked"]


class Page(ComboDoc):
    scan: File
    caption: Text | None = None
    score: float = 0.5


class Soaked(Executor):
    @post
    async def echo(self, page: Page) -> Page:
        return page

    @post
    def size(self, doc: File) -> int:
        return len(doc.read())

    @post(batch_size=16, batch_wait=0.002)
    def lengths(self, doc: list[Text]) -> list[int]:
        return [len(text.read()) for text in doc]

    @post
    async def wait(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @post
    def fail(self, how: str) -> int:
        if how == "ours":
            raise InvalidArgument("this is refused")
        raise ZeroDivisionError("this is a mistake")

    @stream
    async def count(self, to: int, pause: float = 0.0) -> AsyncIterator[int]:
        for number in range(to):
            await asyncio.sleep(pause)
            yield number

    @stream
    def count_in_thread(self, to: int) -> Iterator[int]:
        yield from range(to)

    @stream
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @stream
    async def doubled(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    @post
    async def vitals(self) -> dict[str, Any]:
        return vitals()


def main(certificate: str, *urls: str) -> None:
    note_complaints()
    logging.getLogger("xooai").propagate = False  # what is raised by mistake, and much of it
    logging.getLogger("xooai").addHandler(logging.NullHandler())
    with Soaked() as executor:
        print(*executor.start(*urls, certificate=certificate or None), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
