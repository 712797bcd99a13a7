"""What client and server of two versions of xooai agree on: an executor whose endpoints use all that crosses the wire.

Both versions run this file, so it uses only what the older one has, or asks for it by `has`.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import BaseModel

from xooai import ComboDoc, Executor, File, Image, NotFound, ResourceExhausted, Tensor, Text, current, post, stream

LARGE = 3_000_000  # bytes: too many to go inline
FULL = 8  # items in a batch


def has(function: Any, parameter: str) -> bool:
    """Whether this version of xooai knows a parameter."""
    return parameter in inspect.signature(function).parameters


ABILITIES = {name: has(Executor.at, parameter) for name, parameter in {"retries": "retry", "hedging": "hedge"}.items()}
ABILITIES["idempotency keys"] = ABILITIES["idempotent"] = has(post, "idempotent")
"""What came with later versions, and whether this one has it."""

IDEMPOTENT: dict[str, Any] = {"idempotent": True} if ABILITIES["idempotent"] else {}


class Page(ComboDoc):
    """Documents inside a document."""

    scan: Image
    caption: Text | None = None
    words: dict[str, Text] = {}


class Order(BaseModel):
    """A record as the server knows it."""

    item: str
    count: int = 1


class LaterOrder(Order):
    """The same record, of a program that has gone on."""

    colour: str = "red"


class Other(Executor):
    """The contract as a client has it whose program is older at one place, and newer at another."""

    @post
    async def order(self, order: LaterOrder) -> LaterOrder:
        return order

    @post
    async def grown(self) -> Order:
        return Order(item="a")


class Contract(Executor):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.bought = 0
        self.asked = 0
        self.ended = threading.Event()
        self.sizes: list[int] = []

    @post
    async def abilities(self) -> dict[str, bool]:
        return ABILITIES

    @post
    def documents(self, doc: list[Text | Image | File | Tensor]) -> list[Text | Image | File | Tensor]:
        return doc

    @post
    async def page(self, doc: Page) -> Page:
        return doc

    @post
    async def order(self, order: Order) -> Order:
        return order

    @post
    async def grown(self) -> LaterOrder:
        return LaterOrder(item="a")

    @post
    async def values(
        self, number: float, whole: int, data: bytes, table: dict[str, list[int | None]]
    ) -> tuple[float, int, bytes, dict[str, list[int | None]]]:
        return number, whole, data, table

    @post
    async def who(self) -> dict[str, str]:
        call = current()
        call.reply_metadata["x-seen"] = "yes"
        return {"token": call.metadata.get("x-token", ""), "left": str(call.remaining)}

    @post
    async def fail(self, kind: str) -> None:
        if kind == "typed":
            raise NotFound("no such thing: é", details={"n": [1, None]})
        if kind == "full":
            raise ResourceExhausted("full", reason="load", retry_after=31.0)  # for which no client waits
        raise RuntimeError("a secret")

    @post
    async def wait(self, seconds: float) -> None:
        self.ended.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.ended.set()

    @post
    def has_ended(self) -> bool:
        """Whether the last `wait` is over, by its time or by being cancelled."""
        return self.ended.wait(5)

    @post
    def hash(self, doc: File) -> int:
        with doc.open() as file:
            return sum(file.read())

    @post
    def bytes(self, size: int) -> File:
        return File(value=b"\7" * size)

    @post
    async def buy(self) -> int:
        self.bought += 1
        return self.bought

    @post(**IDEMPOTENT)
    async def refused_once(self) -> str:
        self.asked += 1
        if self.asked % 2:
            raise ResourceExhausted("not now", reason="load", retry_after=0.1)
        return "taken"

    @post(batch_size=FULL, batch_wait=0.2)
    def squares(self, numbers: list[int]) -> list[int]:
        self.sizes.append(len(numbers))
        time.sleep(0.02)
        return [number * number for number in numbers]

    @post
    async def largest_batch(self) -> int:
        return max(self.sizes)

    @stream
    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    @stream
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @stream
    async def halves(self, numbers: AsyncIterator[int]) -> AsyncIterator[float]:
        async for number in numbers:
            if number < 0:
                raise NotFound("no halves below 0")
            yield number / 2
