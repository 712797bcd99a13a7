"""Time limits and cancellation: they reach the handler, and what it calls."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from places import HERE, PATIENCE, Place

from xooai import DeadlineExceeded, Executor, Internal, Text, Unavailable, current, post
from xooai.call import Call, Service


class Slow(Executor):
    """Waits until it is let go, and tells what became of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.started, self.cancelled, self.release = threading.Event(), threading.Event(), threading.Event()
        self.count = 0

    @post
    async def on_loop(self) -> str:
        self.count += 1
        self.started.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "done"

    @post
    def in_thread(self) -> str:
        self.count += 1
        self.started.set()
        self.release.wait(PATIENCE)
        return "done"

    @post
    async def stubborn(self) -> str:
        """Does not let itself be cancelled."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)
        return "done anyway"

    @post
    async def fine(self, doc: Text) -> Text:
        return doc

    def close(self) -> None:
        self.release.set()


ENDPOINTS = ["on_loop", "in_thread"]


def expire(slow: Slow, call: Callable[[float], Any]) -> None:
    """Make a call whose time is over while its handler runs: on a machine that is busy, not with the first limit."""
    for limit in (0.1, 0.5, 2, PATIENCE):
        with pytest.raises(TimeoutError):
            call(limit)
        if slow.started.is_set():
            return


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_call_that_takes_too_long_raises_deadline_exceeded(place: Place, endpoint: str) -> None:
    slow = Slow()
    caller = place(slow)

    with pytest.raises(DeadlineExceeded) as caught:
        caller.post(on=endpoint, timeout=0.1)

    assert isinstance(caught.value, TimeoutError)
    slow.release.set()
    assert caller.post(on="fine", doc=Text(value="next")).value == "next"


def test_an_expired_handler_is_cancelled(place: Place) -> None:
    slow = Slow()
    caller = place(slow)
    expire(slow, lambda limit: caller.post(on="on_loop", timeout=limit))
    assert slow.cancelled.wait(PATIENCE)


@pytest.mark.parametrize("timeout", [0, -1])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_has_no_time_left_is_not_started(place: Place, endpoint: str, timeout: float) -> None:
    """A negative deadline ends the call at once, and nothing runs."""
    slow = Slow()
    caller = place(slow)
    with pytest.raises(DeadlineExceeded):
        caller.post(on=endpoint, timeout=timeout)
    assert caller.post(on="fine", doc=Text(value="x")).value == "x"
    assert slow.count == 0


def test_a_time_limit_that_is_not_reached_changes_nothing(place: Place) -> None:
    caller = place(Slow())
    for timeout in (0.9 * PATIENCE, 1e9, None):
        assert caller.post(on="fine", doc=Text(value="x"), timeout=timeout).value == "x"


def test_a_client_has_a_time_limit_of_its_own(serve: Callable[[Executor], str]) -> None:
    slow = Slow()
    with Slow.at(serve(slow), timeout=0.1) as client:
        for endpoint in ENDPOINTS:
            with pytest.raises(DeadlineExceeded):
                client.post(on=endpoint)


def test_a_limit_far_away_ends_a_call_too() -> None:
    """Far limits are swept together: the first sweep after it counts."""

    async def main() -> None:
        slow = Slow()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DeadlineExceeded):
            await slow.apost(on="on_loop", timeout=2.05)
        assert 2.05 <= loop.time() - began < 2.05 + 1

    asyncio.run(main())


class SetUp(Executor):
    """Takes its time before the first call: half a second, or for ever."""

    def __init__(self, takes: float = 0.5) -> None:
        super().__init__()
        self.takes, self.count = takes, 0
        self.cancelled = threading.Event()

    async def setup(self) -> None:
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @post
    async def on_loop(self) -> float | None:
        self.count += 1
        return current().remaining

    @post
    def in_thread(self) -> float | None:
        self.count += 1
        return current().remaining


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_setup_in_process_counts_as_time_of_the_call(endpoint: str) -> None:
    with SetUp() as executor:
        left = executor.post(on=endpoint, timeout=PATIENCE)
        assert 0 < left <= PATIENCE - 0.5
        assert executor.post(on=endpoint) is None


@pytest.mark.parametrize("timeout", [0.1, 0])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_setup_that_takes_longer_than_the_call_may_ends_it(endpoint: str, timeout: float) -> None:
    with SetUp(takes=PATIENCE) as executor:
        with pytest.raises(DeadlineExceeded):
            executor.post(on=endpoint, timeout=timeout)
        assert executor.cancelled.is_set() == (timeout > 0)
        assert executor.count == 0


class Reading(Executor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @post
    async def left(self, doc: Text) -> float | None:
        self.count += 1
        return current().remaining


async def with_busy_threads(seconds: float, call: Callable[[], Any]) -> Any:
    """Make a call while no thread of the loop's is free to read files."""
    loop = asyncio.get_running_loop()
    release = threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, release.wait, PATIENCE)
    let_go = loop.call_later(seconds, release.set)
    try:
        return await call()
    finally:
        let_go.cancel()
        release.set()
        await busy


def test_reading_a_file_to_send_counts_as_time_of_the_call(serve: Callable[[Executor], str], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    url = serve(Reading())

    async def main() -> None:
        async with Reading.at(url, timeout=PATIENCE) as client:
            doc = Text(ref=str(tmp_path / "text"))
            left = await with_busy_threads(0.5, lambda: client.apost(on="left", doc=doc))
            assert 0 < left <= PATIENCE - 0.5

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0.1, 0])
def test_a_file_that_takes_longer_to_read_than_the_call_may_ends_it(
    serve: Callable[[Executor], str], tmp_path: Path, timeout: float
) -> None:
    (tmp_path / "text").write_text("x")
    reading = Reading()
    url = serve(reading)

    async def main() -> None:
        async with Reading.at(url, timeout=timeout) as client:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await with_busy_threads(PATIENCE, lambda: client.apost(on="left", doc=Text(ref=str(tmp_path / "text"))))
            assert time.monotonic() - began < PATIENCE / 2

    asyncio.run(main())
    assert reading.count == 0


@pytest.mark.parametrize("by", ["url", "client"])
def test_asking_for_a_description_counts_as_time_of_the_call(serve: Callable[[Executor], str], by: str) -> None:

    def slowly(service: Service) -> Service:
        async def answer(call: Call) -> None:
            await asyncio.sleep(0.5 if call.endpoint.name == "describe" else 0)
            await service(call)

        return answer

    url = serve(Reading())
    with Executor(url if by == "client" else None, layers=[slowly]) as caller:
        on = "left" if by == "client" else f"{url}/left"
        for spent in (0.5, 0):
            left = caller.post(on=on, doc=Text(value="x"), timeout=PATIENCE)
            assert PATIENCE - spent - 0.4 < left <= PATIENCE - spent


def test_a_handler_that_ignores_its_cancellation_does_not_hurt_its_caller() -> None:
    async def main() -> None:
        slow = Slow()
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(DeadlineExceeded):
            await slow.apost(on="stubborn", timeout=0.05)
        assert task.cancelling() == 0
        async with asyncio.timeout(PATIENCE):
            assert (await slow.apost(on="fine", doc=Text(value="x"))).value == "x"

    asyncio.run(main())


def test_a_limit_counts_also_while_its_caller_is_being_cancelled() -> None:
    """In clean-up code, for example."""

    async def main() -> str:
        slow = Slow()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            try:
                await slow.apost(on="on_loop", timeout=0.05)
            except DeadlineExceeded:
                return "expired"
        return "cancelled"

    async def outer() -> str:
        task = asyncio.create_task(main())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(outer()) == "expired"


# Nested calls


class Inner(Executor):
    @post
    async def left(self) -> float | None:
        return current().remaining

    @post
    def left_in_thread(self) -> float | None:
        return current().remaining


class Middle(Executor):
    """Calls an inner executor; tells the seconds that both have left."""

    def __init__(self, inner: Any, on: str) -> None:
        self.inner, self.on = inner, on

    @post
    def in_thread(self) -> list[float | None]:
        return [current().remaining, self.inner.post(on=self.on)]

    @post
    async def on_loop(self) -> list[float | None]:
        return [current().remaining, await self.inner.apost(on=self.on)]

    @post
    async def longer(self) -> list[float | None]:
        return [current().remaining, await self.inner.apost(on=self.on, timeout=1000)]

    @post
    async def shorter(self) -> list[float | None]:
        return [current().remaining, await self.inner.apost(on=self.on, timeout=5)]


@pytest.mark.parametrize("on", ["left", "left_in_thread"])
@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop", "longer"])
def test_nested_calls_inherit_the_time_that_is_left(place: Place, endpoint: str, on: str) -> None:
    """In process and by any client."""
    outer, inner = place(Middle(place(Inner()), on)).post(on=endpoint, timeout=30)
    assert 0 < inner <= outer + 0.001 <= 30.001  # a header counts whole milliseconds, rounded up


def test_a_nested_call_may_allow_itself_less(place: Place) -> None:
    outer, inner = place(Middle(place(Inner()), "left")).post(on="shorter", timeout=30)
    assert (outer > 5, inner <= 5) == (True, True)


def test_a_nested_call_ends_with_the_outer_one(place: Place) -> None:
    """No work goes on behind a deadline."""
    slow = Slow()
    middle = place(Middle(place(slow), "on_loop"))
    expire(slow, lambda limit: middle.post(on="on_loop", timeout=limit))
    assert slow.cancelled.wait(PATIENCE)


def test_without_a_limit_a_nested_call_has_its_clients_own(serve: Callable[[Executor], str]) -> None:
    with Inner.at(serve(Inner()), timeout=7) as client:
        outer, inner = Middle(client, "left").post(on="on_loop")
        assert outer is None
        assert 0 < inner <= 7


# Callers that leave


def test_a_caller_that_gives_up_cancels_its_handler(place: Place) -> None:
    slow = Slow()
    caller = place(slow)

    async def main() -> None:
        async with caller:
            call = asyncio.create_task(caller.apost(on="on_loop"))
            assert await asyncio.to_thread(slow.started.wait, PATIENCE)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(slow.cancelled.wait, PATIENCE)
            slow.release.set()

    asyncio.run(main())


def test_a_time_limit_of_asyncio_cancels_the_handler_too(place: Place) -> None:
    slow = Slow()
    caller = place(slow)

    async def main(limit: float) -> None:
        async with caller, asyncio.timeout(limit):
            await caller.apost(on="on_loop")

    expire(slow, lambda limit: asyncio.run(main(limit)))
    assert slow.cancelled.wait(PATIENCE)


def test_a_client_that_leaves_cancels_its_handler(serve: Callable[[Executor], str]) -> None:
    """With the client's socket closed in the middle of a call."""
    slow = Slow()
    host, _, port = serve(slow).split("/")[2].partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /slow/on_loop HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 2\r\n\r\n{}".encode()
        )
        assert slow.started.wait(PATIENCE)
    assert slow.cancelled.wait(PATIENCE)


def test_a_client_that_leaves_while_a_thread_works_does_not_hurt_others(serve: Callable[[Executor], str]) -> None:
    slow = Slow()
    url = serve(slow)

    async def main() -> None:
        async with Slow.at(url) as client:
            call = asyncio.create_task(client.apost(on="in_thread"))
            assert await asyncio.to_thread(slow.started.wait, PATIENCE)
            call.cancel()
            await asyncio.wait([call])
            assert (await client.fine(doc=Text(value="x"))).value == "x"
            slow.release.set()
            assert (await client.fine(doc=Text(value="y"))).value == "y"

    asyncio.run(main())


def test_a_handler_cancelled_from_inside_fails_and_does_not_vanish(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    class Tangled(Executor):
        @post
        async def tangled(self) -> None:
            inner = asyncio.create_task(asyncio.sleep(PATIENCE))
            inner.cancel()
            await inner

    with pytest.raises(Internal):
        place(Tangled()).post(on="tangled")


def test_a_server_that_stops_in_the_middle_is_unavailable() -> None:
    slow = Slow()
    url = slow.start(HERE, grace=0.1)[0]

    async def main() -> None:
        async with Slow.at(url) as client:
            call = asyncio.create_task(client.apost(on="on_loop"))
            assert await asyncio.to_thread(slow.started.wait, PATIENCE)
            await asyncio.to_thread(slow.stop)
            with pytest.raises(Unavailable):
                await call

    asyncio.run(main())
    assert slow.cancelled.is_set()
    slow.release.set()
