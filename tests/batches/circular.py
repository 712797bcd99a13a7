"""Executors whose batches call batches, their own among them, in the process and by URL."""

from __future__ import annotations

from xooai import Executor, post

__all__ = ["Circular", "Middle"]


class Circular(Executor):
    """Each method counts down by calling itself, or what is at `at`."""

    @post(batch_size=4, batch_wait=0)
    async def down(self, x: list[int], at: str) -> list[int]:
        return [await self.apost(on=at, x=one - 1, at=at) + 1 if one else 0 for one in x]

    @post(batch_size=4, batch_wait=0)
    def blocking(self, x: list[int], at: str) -> list[int]:
        return [self.post(on=at, x=one - 1, at=at) + 1 if one else 0 for one in x]

    @post(batch_size=4, batch_wait=0)
    async def around(self, x: list[int], at: str, back: str) -> list[int]:
        return [await self.apost(on=at, x=one - 1, at=back, back=at) + 1 if one else 0 for one in x]


class Middle(Executor):
    @post
    async def around(self, x: int, at: str, back: str) -> int:
        found: int = await self.apost(on=at, x=x, at=back, back=at)
        return found
