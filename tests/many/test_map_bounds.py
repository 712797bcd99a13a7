"""What `map` holds and leaves: it reads as its results are taken, blocks nobody, and ends with whoever takes them."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from xooai import Executor, FailedPrecondition, Text, current, post

Put = Callable[[Executor], Any]
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run
AHEAD = 4  # times `concurrency`: as many as are read at most and not given out


class Source:
    """Numbers, counted as they are read; `taken` is counted by whoever takes the results."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = self.taken = self.most = 0
        self.is_closed = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                self.read += 1
                self.most = max(self.most, self.read - self.taken)
                yield number
        finally:
            self.is_closed.set()

    async def slowly(self) -> AsyncIterator[int]:
        for number in self:
            await asyncio.sleep(0)
            yield number


class Counting(Executor):
    """Counts the calls that are under way."""

    def __init__(self) -> None:
        self.busy = self.most = 0
        self.cancelled = 0
        self.released, self.full, self.all_wait = threading.Event(), asyncio.Event(), threading.Event()

    @post
    async def same(self, number: int) -> int:
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        return number

    @post
    def wait(self, number: int) -> int:
        assert self.released.wait(PATIENCE)
        return number

    @post
    async def never(self, number: int) -> int:
        self.busy += 1
        if self.busy == 4:
            self.full.set()
            self.all_wait.set()
        try:
            return await asyncio.Event().wait()
        finally:
            self.busy -= 1
            self.cancelled += 1

    @post
    async def odd(self, number: int) -> int:
        """Answers every second number at once, and the others never."""
        return number if number % 2 else await self.never(number)

    @post
    async def asked(self, numbers: list[int]) -> list[int]:
        return [number async for number in self.amap("same", numbers)]

    @post
    async def blocking(self, numbers: list[int]) -> list[int]:
        return list(self.map("same", numbers))

    @post
    def in_a_thread(self, numbers: list[int]) -> list[int]:
        return list(self.map("same", numbers))

    @post
    async def left(self, doc: Text) -> float | None:
        return current().remaining


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("concurrency", [1, 2, 7, 32])
def test_it_reads_ahead_by_a_few_times_its_concurrency(concurrency: int, ordered: bool) -> None:
    source = Source(1000)
    with Counting() as e:
        for _ in e.map("same", source, concurrency=concurrency, ordered=ordered):
            source.taken += 1
        assert (source.taken, e.busy) == (1000, 0)
        assert e.most <= concurrency

    assert source.most <= AHEAD * concurrency
    assert source.is_closed.is_set()


def test_many_calls_are_under_way_at_a_time(put: Put) -> None:
    e = Counting()
    held = put(e)

    results = held.map("wait", range(20), concurrency=3, ordered=False)
    threading.Timer(0.01, e.released.set).start()

    assert sorted(one.result for one in results) == list(range(20))


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_a_million_items_take_no_more_memory_than_a_thousand(ordered: bool) -> None:
    with Counting() as e:

        def mapped(count: int) -> int:
            source = Source(count)
            for _ in e.map("same", source, ordered=ordered):
                source.taken += 1
            assert source.taken == count
            assert source.most <= AHEAD * 32
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        before = mapped(20_000)
        assert mapped(1_000_000) - before < 4 * 1024  # KiB


def test_nothing_is_read_before_the_first_result_is_asked_for() -> None:
    source = Source(10)
    with Counting() as e:
        results = e.map("same", source)
        assert source.read == 0
        assert next(results) == 0
        results.close()


def test_a_blocking_source_is_waited_for_in_a_thread() -> None:
    released = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        assert released.wait(PATIENCE)
        yield 2

    async def work() -> None:
        with Counting() as e:
            results = e.amap("same", slow())
            assert await anext(results) == 1  # while the source waits
            assert await e.apost("same", number=7) == 7
            released.set()
            assert [number async for number in results] == [2]

    asyncio.run(asyncio.wait_for(work(), PATIENCE))


# Leaving early


@pytest.mark.parametrize("way", ["break", "close", "error", "collected"])
def test_leaving_cancels_what_is_under_way_and_closes_the_source(way: str) -> None:
    source = Source(1000)
    with Counting() as e:
        results = e.map("odd", source, ordered=False)
        assert next(results).result == 1
        if way == "close":
            results.close()
            results.close()
        elif way == "break":
            for _ in results:
                break
        elif way == "error":
            with pytest.raises(KeyError):
                results.throw(KeyError("of who takes the results"))
        del results
        gc.collect()
        assert source.is_closed.wait(PATIENCE)
        assert e.busy == 0
        assert e.cancelled >= 1


@pytest.mark.parametrize("way", ["close", "error", "cancelled", "collected", "loop ends"])
def test_leaving_cancels_what_is_under_way_in_async_code_too(way: str) -> None:
    source = Source(1000)
    kept: list[Any] = []

    async def work() -> None:
        results = e.amap("odd", source.slowly(), ordered=False, concurrency=4)
        assert (await anext(results)).result == 1
        match way:
            case "close":
                await results.aclose()
            case "error":
                with pytest.raises(KeyError):
                    await results.athrow(KeyError("of who takes the results"))
            case "cancelled":
                taking = asyncio.ensure_future(_all(results))
                await e.full.wait()
                taking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await taking
            case "loop ends":
                kept.append(results)
                return
        del results
        assert await asyncio.to_thread(source.is_closed.wait, PATIENCE)

    with Counting() as e:
        asyncio.run(work())
        gc.collect()
        assert source.is_closed.is_set()
        assert e.busy == 0
        assert e.cancelled >= 1


async def _all(results: Any) -> list[Any]:
    return [one async for one in results]


def test_a_source_that_is_interrupted_ends_the_map_and_not_the_loop() -> None:
    def interrupted() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with Counting() as e:
        with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
            list(e.map("never", interrupted(), on_error="keep", timeout=0.01))
        assert e.busy == 0


def test_an_interrupt_while_it_waits_cancels_what_is_under_way() -> None:
    main = threading.main_thread().ident
    assert main is not None

    interrupted = threading.Event()

    def press(e: Counting) -> None:
        """Until it is heard: Python hears none that comes just before it begins to wait, unless another follows."""
        assert e.all_wait.wait(PATIENCE)
        for _ in range(5):
            signal.pthread_kill(main, signal.SIGINT)
            if interrupted.wait(2):
                break

    with Counting() as e:
        pressing = threading.Thread(target=press, args=(e,))
        pressing.start()
        with pytest.raises(KeyboardInterrupt):
            list(e.map("never", range(100), concurrency=4))
        interrupted.set()
        pressing.join()
        assert (e.busy, e.cancelled) == (0, 4)


# Where it may be called


def test_it_works_within_a_running_loop() -> None:
    async def work() -> list[int]:
        with Counting() as e:
            return list(e.map("same", range(100)))

    assert asyncio.run(work()) == list(range(100))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks that start at once came with Python 3.12")
def test_it_works_on_a_loop_that_starts_tasks_at_once() -> None:
    async def work() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
        with Counting() as e:
            for concurrency in (1, 32, 1024):
                results = e.amap("same", Source(3000), concurrency=concurrency)
                assert [number async for number in results] == list(range(3000))
                assert e.most <= concurrency

    asyncio.run(work())


def test_a_handler_maps_too_and_is_told_where_that_would_block_its_loop() -> None:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    with Counting() as e, Counting.at(e.start("http://127.0.0.1:0")[0]) as there:
        assert there.post("asked", numbers=[1, 2, 3]) == [1, 2, 3]
        assert there.post("in_a_thread", numbers=[1, 2, 3]) == [1, 2, 3]
        with pytest.raises(FailedPrecondition, match=r"map\(\) would block the loop that serves; use: await anext"):
            there.post("blocking", numbers=[1, 2, 3])


def test_calls_have_what_is_left_of_the_call_that_maps() -> None:
    class Outer(Executor):
        @post
        async def lefts(self, docs: list[Text]) -> list[float]:
            return [left async for left in e.amap("left", docs)]

    with Counting() as e, Outer() as outer:
        found = outer.post(docs=[Text(value="a")], timeout=7)

    assert 0 < found[0] <= 7
