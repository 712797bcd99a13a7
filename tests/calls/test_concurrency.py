"""Many calls at once, and calls from every kind of place: threads, loops that run, loops that serve."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from places import HERE, PATIENCE, Place

from xooai import DeadlineExceeded, Executor, FailedPrecondition, Image, ResourceExhausted, Text, post


class Echo(Executor):
    @post
    def in_thread(self, doc: Text) -> Text:
        return doc

    @post
    async def on_loop(self, doc: Text) -> Text:
        return doc


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_a_hundred_calls_at_once_get_their_own_answers(place: Place, codec: str, endpoint: str) -> None:
    caller = place(Echo())

    async def main() -> list[Text]:
        async with caller:
            calls = (caller.apost(on=endpoint, doc=Text(value=str(n)), codec=codec) for n in range(100))
            return list(await asyncio.gather(*calls))

    assert [doc.value for doc in asyncio.run(main())] == [str(n) for n in range(100)]


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_many_threads_may_post_at_once(place: Place, endpoint: str) -> None:
    caller = place(Echo())
    found: dict[int, str | None] = {}

    def run(n: int) -> None:
        found[n] = caller.post(on=endpoint, doc=Text(value=str(n))).value

    threads = [threading.Thread(target=run, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {n: str(n) for n in range(20)}


def test_the_first_calls_of_a_class_may_come_at_once() -> None:
    class Fresh(Executor):
        @post
        def mean(self, numbers: list[float], name: str) -> dict[str, float]:
            return {name: sum(numbers) / len(numbers)}

    fresh, begin = Fresh(), threading.Barrier(16)
    found: dict[int, Any] = {}

    def run(n: int) -> None:
        begin.wait(PATIENCE)
        found[n] = fresh.post(numbers=[n, n + 1.0], name=str(n), codec=("json", "msgpack")[n % 2])

    threads = [threading.Thread(target=run, args=(n,)) for n in range(begin.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {n: {str(n): n + 0.5} for n in range(begin.parties)}


class Meeting(Executor):
    """Answers when enough are there at the same time."""

    def __init__(self, parties: int) -> None:
        self.barrier = threading.Barrier(parties)

    @post
    def meet(self) -> bool:
        self.barrier.wait(PATIENCE)
        return True


def test_def_handlers_overlap(place: Place) -> None:
    """Each in a worker thread, also when one of these is idle already."""
    meeting = Meeting(4)
    caller = place(meeting)

    async def main() -> list[bool]:
        async with caller:
            found = []
            for _ in range(3):
                found += await asyncio.gather(*(caller.apost(on="meet") for _ in range(4)))
            return found

    assert asyncio.run(main()) == [True] * 12


class Blocking(Executor):
    """Blocks the loop that it runs on, which no handler should."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    @post
    async def block_the_loop(self) -> bool:
        self.entered.set()
        return self.release.wait(PATIENCE)

    @post
    def block_a_thread(self) -> bool:
        self.entered.set()
        return self.release.wait(PATIENCE)

    @post
    async def fine(self) -> bool:
        return True


def test_a_blocked_thread_does_not_hold_up_others(place: Place) -> None:
    blocking = Blocking()
    caller = place(blocking)

    async def main() -> list[bool]:
        async with caller:
            blocked = asyncio.create_task(caller.apost(on="block_a_thread"))
            assert await asyncio.to_thread(blocking.entered.wait, PATIENCE)
            fine = await caller.apost(on="fine", timeout=PATIENCE)
            blocking.release.set()
            return [fine, await blocked]

    assert asyncio.run(main()) == [True, True]


def test_a_blocked_loop_is_a_clear_error_for_others_within_their_time(serve: Callable[[Executor], str]) -> None:
    blocking = Blocking()
    url = serve(blocking)

    async def main() -> bool:
        async with Blocking.at(url) as client:
            blocked = asyncio.create_task(client.apost(on="block_the_loop"))
            assert await asyncio.to_thread(blocking.entered.wait, PATIENCE)
            with pytest.raises(DeadlineExceeded):
                await client.apost(on="fine", timeout=0.2)
            blocking.release.set()
            assert await blocked
            return bool(await client.apost(on="fine"))

    assert asyncio.run(main())


def test_more_calls_than_may_wait_for_a_thread_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Design 6: load beyond the queue is refused with a time to come back, and those in it are answered."""
    blocking = Blocking()

    async def main() -> list[Any]:
        calls = [asyncio.create_task(blocking.apost(on="block_a_thread")) for _ in range(1200)]
        refused, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
        error = next(iter(refused)).exception()
        assert isinstance(error, ResourceExhausted)
        assert error.reason == "load"
        assert error.retry_after
        blocking.release.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    with blocking:
        results = asyncio.run(main())
    assert {type(result) for result in results} == {bool, ResourceExhausted}
    assert results.count(True) >= 1024


# Where blocking calls are made


def test_post_works_inside_a_running_loop(place: Place) -> None:
    """In a notebook, for example."""
    caller = place(Echo())

    async def main() -> list[str]:
        return [caller.post(on=endpoint, doc=Text(value="x")).value for endpoint in ("in_thread", "on_loop")]

    assert asyncio.run(main()) == ["x", "x"]


def test_a_def_handler_may_read_files_also_when_it_is_called_inside_a_running_loop(
    place: Place, tmp_path: Path
) -> None:
    """Handlers use read(): they run in a worker thread wherever a loop runs."""

    class Reader(Executor):
        @post
        def size(self, doc: Image) -> int:
            return len(doc.read())

    path = tmp_path / "picture.png"
    path.write_bytes(b"12345")
    caller = place(Reader())

    async def main() -> int:
        return int(caller.post(on="size", doc=Image(ref=str(path))))

    assert asyncio.run(main()) == 5


class Calling(Executor):
    """Calls from inside its handlers."""

    other: Any = None

    @post
    async def blocking_on_loop(self) -> str:
        return str(self.other.post(on="in_thread", doc=Text(value="x")).value)

    @post
    async def blocking_itself(self) -> str:
        return str(self.post(on="leaf"))

    @post
    def blocking_in_thread(self) -> str:
        return str(self.other.post(on="on_loop", doc=Text(value="x")).value)

    @post
    async def awaiting(self) -> str:
        return str((await self.other.apost(on="in_thread", doc=Text(value="x"))).value)

    @post
    def leaf(self) -> str:
        return "leaf"


def test_post_on_a_loop_that_serves_is_refused_and_names_apost(place: Place, serve: Callable[[Executor], str]) -> None:
    """It would block every other call."""
    calling = Calling()
    calling.other = place(Echo())
    with Executor(serve(calling)) as client:
        for endpoint in ("blocking_on_loop", "blocking_itself"):
            with pytest.raises(FailedPrecondition, match="apost"):
                client.post(on=endpoint)
        assert client.post(on="blocking_in_thread") == "x"
        assert client.post(on="awaiting") == "x"


def test_a_typed_method_of_a_client_is_refused_on_a_loop_that_serves(serve: Callable[[Executor], str]) -> None:
    class Typed(Executor):
        other: Any = None

        @post
        async def run(self) -> str:
            return str(self.other.in_thread(doc=Text(value="x")).value)

    typed = Typed()
    with ExitStack() as stack:
        typed.other = stack.enter_context(Echo.at(serve(Echo())))
        client = stack.enter_context(Typed.at(serve(typed)))
        with pytest.raises(FailedPrecondition, match="apost"):
            client.post(on="run")


def test_calls_within_calls_work_from_both_kinds_of_handlers(place: Place) -> None:
    calling = Calling()
    calling.other = place(Echo())
    caller = place(calling)
    assert caller.post(on="blocking_in_thread") == "x"
    assert caller.post(on="awaiting") == "x"


def test_a_blocking_call_on_the_private_loop_is_refused_and_does_not_hang() -> None:
    """An async handler that was called by post() runs there."""
    calling = Calling()
    calling.other = Echo()
    with pytest.raises(FailedPrecondition, match="async form|apost"):
        calling.post(on="blocking_on_loop")


def test_one_client_serves_several_loops_one_after_another(serve: Callable[[Executor], str]) -> None:
    client = Echo.at(serve(Echo()))

    async def once() -> str | None:
        return (await client.on_loop(doc=Text(value="x"))).value

    with client:
        assert [asyncio.run(once()) for _ in range(3)] == ["x"] * 3
        assert client.in_thread(doc=Text(value="y")).value == "y"


def test_one_client_serves_several_loops_at_once(serve: Callable[[Executor], str]) -> None:
    client = Echo.at(serve(Echo()))
    meeting = threading.Barrier(3)
    found: list[str | None] = []

    async def several() -> None:
        meeting.wait(PATIENCE)
        for _ in range(5):
            found.append((await client.on_loop(doc=Text(value="x"))).value)

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(3)]
    with client:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert found == ["x"] * 15


# What is set up once


class Prepared(Executor):
    """Takes its time to get ready."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.count, self.is_ready = 0, False
        self.begun, self.release = threading.Event(), threading.Event()
        self.release.set()
        self.error: Exception | None = None

    async def setup(self) -> None:
        self.count += 1
        self.begun.set()
        await asyncio.to_thread(self.release.wait, PATIENCE)
        if self.error is not None:
            raise self.error
        self.is_ready = True

    @post
    def in_thread(self) -> bool:
        return self.is_ready

    @post
    async def on_loop(self) -> bool:
        return self.is_ready


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_setup_runs_once_before_the_first_call(place: Place, endpoint: str) -> None:
    prepared = Prepared()
    caller = place(prepared)
    assert [caller.post(on=endpoint) for _ in range(3)] == [True] * 3
    assert prepared.count == 1


def test_calls_at_the_same_time_wait_for_the_one_setup() -> None:
    prepared = Prepared()
    prepared.release.clear()

    async def main() -> list[bool]:
        calls = [asyncio.create_task(prepared.apost(on="on_loop")) for _ in range(5)]
        assert await asyncio.to_thread(prepared.begun.wait, PATIENCE)
        other = asyncio.create_task(asyncio.to_thread(prepared.post, on="in_thread"))  # on the private loop
        await asyncio.sleep(0)
        prepared.release.set()
        return [*await asyncio.gather(*calls), await other]

    with prepared:
        assert asyncio.run(main()) == [True] * 6
    assert prepared.count == 1


def test_a_setup_that_failed_is_tried_again() -> None:
    prepared = Prepared()
    prepared.error = OSError("no model yet")
    with prepared:
        with pytest.raises(OSError, match="no model yet"):
            prepared.post(on="in_thread")
        prepared.error = None
        assert prepared.post(on="in_thread") is True
    assert prepared.count == 2


def test_a_caller_that_gives_up_during_setup_leaves_it_to_the_next() -> None:
    prepared = Prepared()
    prepared.release.clear()

    async def main() -> bool:
        first = asyncio.create_task(prepared.apost(on="on_loop"))
        assert await asyncio.to_thread(prepared.begun.wait, PATIENCE)
        second = asyncio.create_task(prepared.apost(on="on_loop"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        prepared.release.set()
        return bool(await second)

    with prepared:
        assert asyncio.run(main()) is True
    assert prepared.count == 2


def test_setup_may_call_the_executors_own_endpoints() -> None:
    """To warm a model up."""

    class Warming(Executor):
        warm: Text | None = None

        async def setup(self) -> None:
            self.warm = await self.apost(on="echo", doc=Text(value="warm"))

        @post
        def echo(self, doc: Text) -> Text:
            return doc

    with Warming() as warming:
        assert warming.post(on="echo", doc=Text(value="x")).value == "x"
        assert warming.warm == Text(value="warm")


def test_a_server_is_set_up_before_it_listens() -> None:
    prepared = Prepared()
    prepared.error = OSError("no model")
    with prepared:
        with pytest.raises(OSError, match="no model"):
            prepared.start(HERE)
        prepared.error = None
        url = prepared.start(HERE)[0]
        with Prepared.at(url) as client:
            assert client.in_thread() is True
    assert prepared.count == 2
