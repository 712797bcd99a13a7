"""When a batch leaves, and that nothing is done until then."""

from __future__ import annotations

import asyncio
import selectors
from time import monotonic
from typing import Any

from noted_batches import PATIENCE, Noting, scene

from xooai import post, tally

WAIT = 0.2  # seconds that an item waits while a batch runs and another might


class Beside(Noting):
    @post(batch_size=4, batch_wait=WAIT, batch_concurrency=2)
    async def two(self, x: list[int]) -> list[int]:
        self.noted(x)
        await asyncio.to_thread(self.opened)
        return x


async def started(noting: Noting) -> None:
    assert await asyncio.to_thread(noting.started.acquire, timeout=PATIENCE)


async def until_waiting(count: int, endpoint: str) -> None:
    while tally.waiting().get(("batch", "noting", endpoint), 0) != count:  # noqa: ASYNC110 - only looking tells
        await asyncio.sleep(0.005)


def left_waited() -> int:
    """How many batches have left since an item had waited long enough."""
    return sum(one.reasons.get("waited", 0) for one in tally.counted()[1] if one.names == ("beside", "two"))


def test_a_batch_leaves_when_its_oldest_item_has_waited_long_enough() -> None:
    before = left_waited()
    with Beside() as beside:

        async def play() -> None:
            first = asyncio.create_task(beside.apost(on="two", x=0))
            await started(beside)
            came = monotonic()
            others = [asyncio.create_task(beside.apost(on="two", x=x)) for x in (1, 2)]
            await started(beside)
            assert monotonic() - came >= WAIT
            assert beside.batches == [[0], [1, 2]]  # the first still runs
            beside.gate.set()
            assert [await first, *[await other for other in others]] == [0, 1, 2]

        scene(play)
    assert left_waited() - before == 1


def test_a_batch_counts_items_however_many_calls_they_came_in(client: Any, noting: Noting) -> None:
    async def play() -> None:
        first = asyncio.create_task(client.apost(on="held", x=0))
        await started(noting)
        lists = [asyncio.create_task(client.apost(on="held", x=x)) for x in ([1, 2, 3], [4, 5, 6])]
        await until_waiting(6, "held")
        noting.gate.set()
        assert [await first, *[await one for one in lists]] == [0, [1, 2, 3], [4, 5, 6]]

    scene(play)
    assert list(map(len, noting.batches)) == [1, 4, 2]


class Counted(selectors.DefaultSelector):
    """Counts how often its loop has looked for something to do."""

    looks = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.looks += 1
        return super().select(timeout)


def test_a_loop_sleeps_while_items_wait_and_when_there_are_none(noting: Noting) -> None:
    selector = Counted()

    async def looks() -> int:
        before = selector.looks
        await asyncio.sleep(0.3)
        return selector.looks - before

    async def play() -> None:
        assert await noting.apost(on="doubled", x=1) == 2
        assert await looks() <= 3
        calls = [asyncio.create_task(noting.apost(on="waiting", x=0))]
        await started(noting)
        calls += [asyncio.create_task(noting.apost(on="waiting", x=x)) for x in (1, 2)]
        await until_waiting(2, "waiting")
        assert await looks() <= 3
        noting.gate.set()
        assert await asyncio.gather(*calls) == [0, 1, 2]

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(asyncio.wait_for(play(), PATIENCE))
