"""Worker threads for `def` handlers: they overlap, are bounded, and end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import resource
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from textwrap import indent
from typing import Any

import pytest

from xooai import ResourceExhausted, Unavailable, bell, sync
from xooai.threads import Threads

PATIENCE = 10  # seconds: what waits longer fails its test instead of stopping the run


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, limits and bells are Linux's here")


@pytest.fixture(params=[None, bell.LockBell], ids=["quickest-bell", "lock-bell"])
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Threads]]:
    if request.param:
        monkeypatch.setattr("xooai.threads.make", request.param)
    made: list[Threads] = []

    def make(**options: Any) -> Threads:
        made.append(Threads(**options))
        return made[-1]

    yield make
    for threads in made:
        threads.close()
        threads.join(PATIENCE)


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "xooai-worker"}


def run(threads: Threads, *functions: Callable[[], Any]) -> list[Any]:
    """Call all at once, on a loop of their own; what each gave or raised."""

    async def main() -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*(threads.run(function, {}) for function in functions), return_exceptions=True)

    return asyncio.run(main())


def test_a_function_gets_its_arguments_and_gives_its_result(pool: Callable[..., Threads]) -> None:
    threads = pool()

    async def main() -> Any:
        return await threads.run(lambda a, b: (a, b, threading.current_thread().name), {"a": 1, "b": 2})

    assert asyncio.run(main()) == (1, 2, "xooai-worker")


def test_functions_overlap(pool: Callable[..., Threads]) -> None:
    meeting = threading.Barrier(4)
    assert sorted(run(pool(size=4), *[lambda: meeting.wait(PATIENCE)] * 4)) == [0, 1, 2, 3]


def test_functions_overlap_also_when_one_thread_is_idle(pool: Callable[..., Threads]) -> None:
    threads = pool(size=4)
    run(threads, lambda: None)  # leaves a thread that waits for work
    for _ in range(20):
        meeting = threading.Barrier(4)
        assert sorted(run(threads, *[lambda: meeting.wait(PATIENCE)] * 4)) == [0, 1, 2, 3]  # noqa: B023


def test_no_more_threads_run_than_were_allowed(pool: Callable[..., Threads]) -> None:
    before = workers()
    assert run(pool(size=2), *[lambda: None] * 50) == [None] * 50
    assert len(workers() - before) <= 2


def test_no_call_is_lost_among_many(pool: Callable[..., Threads]) -> None:
    threads = pool(size=3)
    for count in (1, 2, 3, 4, 100):
        assert run(threads, *[lambda count=count: count] * count) == [count] * count


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyError("k"), ExceptionGroup("several", [OSError("x")])], ids=repr
)
def test_what_a_function_raises_reaches_the_caller(pool: Callable[..., Threads], error: Exception) -> None:
    def fail() -> None:
        raise error

    assert run(pool(), fail) == [error]


@pytest.mark.parametrize(
    "error", [StopIteration(1), SystemExit(2), asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt()], ids=repr
)
def test_what_would_end_the_loop_or_the_task_is_wrapped(pool: Callable[..., Threads], error: BaseException) -> None:
    def fail() -> None:
        raise error

    threads = pool()
    (found,) = run(threads, fail)
    assert isinstance(found, RuntimeError)
    assert found.__cause__ is error
    assert run(threads, lambda: "next") == ["next"]


def test_a_function_sees_the_context_of_its_caller(pool: Callable[..., Threads]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    threads = pool()

    async def main() -> list[str]:
        variable.set("mine")
        mine = await threads.run(variable.get, {})
        await threads.run(lambda: variable.set("theirs"), {})
        return [mine, variable.get()]

    assert asyncio.run(main()) == ["mine", "mine"]


def test_work_beyond_the_queue_is_refused_with_a_time_to_come_back(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1, queue_limit=2)
    started, release = threading.Event(), threading.Event()

    def block() -> str:
        started.set()
        release.wait(PATIENCE)
        return "done"

    async def main() -> list[Any]:
        running = asyncio.ensure_future(threads.run(block, {}))
        await asyncio.to_thread(started.wait, PATIENCE)
        waiting = [asyncio.ensure_future(threads.run(lambda: "waited", {})) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted) as caught:
            await threads.run(lambda: "too much", {})
        assert caught.value.retry_after
        release.set()
        return await asyncio.gather(running, *waiting)

    assert asyncio.run(main()) == ["done", "waited", "waited"]


def test_what_is_cancelled_before_it_began_is_never_run(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1)
    started, release, ran = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(PATIENCE)

    async def main() -> None:
        running = asyncio.ensure_future(threads.run(block, {}))
        await asyncio.to_thread(started.wait, PATIENCE)
        waiting = asyncio.ensure_future(threads.run(ran.set, {}))
        await asyncio.sleep(0)
        waiting.cancel()
        release.set()
        await running
        await threads.run(lambda: None, {})  # behind the cancelled one

    asyncio.run(main())
    assert not ran.is_set()


def test_what_is_cancelled_while_it_runs_ends_unheard(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1)
    started, release = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(PATIENCE)

    async def main() -> str:
        running = asyncio.ensure_future(threads.run(block, {}))
        await asyncio.to_thread(started.wait, PATIENCE)
        running.cancel()
        await asyncio.wait([running])
        release.set()
        return str(await threads.run(lambda: "next", {}))

    assert asyncio.run(main()) == "next"


def test_who_has_lost_its_caller_is_told_once_where_it_waits_and_may_clean_up(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1)
    waits, told, cleaned = threading.Event(), threading.Event(), threading.Event()
    ended: list[str] = []

    async def forever() -> None:
        waits.set()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            ended.append("what it waited for")

    async def clean() -> str:
        await asyncio.sleep(0.01)
        return "clean"

    def handle() -> None:
        try:
            sync.run(forever())
        except Unavailable:
            told.set()
            ended.append(sync.run(clean()))
            cleaned.set()

    async def main() -> None:
        running = asyncio.ensure_future(threads.run(handle, {}))
        assert await asyncio.to_thread(waits.wait, PATIENCE)
        running.cancel()
        await asyncio.wait([running])
        assert await asyncio.to_thread(told.wait, PATIENCE)
        assert await asyncio.to_thread(cleaned.wait, PATIENCE)

    asyncio.run(main())
    assert ended == ["what it waited for", "clean"]


def test_who_has_lost_its_caller_is_told_where_it_waits_next(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1)
    started, left, told = threading.Event(), threading.Event(), threading.Event()

    def handle() -> None:
        started.set()
        left.wait(PATIENCE)
        try:
            sync.run(asyncio.sleep(PATIENCE))
        except Unavailable:
            told.set()

    async def main() -> None:
        running = asyncio.ensure_future(threads.run(handle, {}))
        assert await asyncio.to_thread(started.wait, PATIENCE)
        running.cancel()
        await asyncio.wait([running])
        left.set()
        assert await asyncio.to_thread(told.wait, PATIENCE / 2)

    asyncio.run(main())


def test_calls_in_a_row_leave_the_loop_time_for_others(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1)

    async def main() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        other = asyncio.ensure_future(others())
        for _ in range(500):
            await threads.run(lambda: None, {})
        other.cancel()
        return turns

    assert asyncio.run(main()) >= 500 // 20


def test_calls_in_a_row_and_then_at_once_all_end(pool: Callable[..., Threads]) -> None:
    threads = pool(size=4)

    async def main() -> list[int]:
        async with asyncio.timeout(PATIENCE):
            for count in range(40):
                assert await threads.run(lambda count=count: count, {}) == count
            meeting = threading.Barrier(4)
            return list(await asyncio.gather(*(threads.run(lambda: meeting.wait(PATIENCE), {}) for _ in range(4))))

    assert sorted(asyncio.run(main())) == [0, 1, 2, 3]


@only_linux
def test_threads_work_where_no_more_files_may_be_opened(pool: Callable[..., Threads]) -> None:
    threads = pool(size=2)
    asyncio.new_event_loop().close()  # what loops need once is there
    loop = asyncio.new_event_loop()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), limits[1]))
    try:
        assert loop.run_until_complete(threads.run(lambda: "done", {})) == "done"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        loop.close()


PROGRAM = """
import asyncio, os, resource, sys, threading, time
{before}
from xooai.threads import Threads

threads = Threads(size=1)

async def call(function, *, seconds=8.0):
    async with asyncio.timeout(seconds):
        return await threads.run(function, {{}})

async def main():
{main}

asyncio.run(main())
threads.close()
threads.join(8)
print("ended")
"""


def program(main: str, before: str = "") -> list[str]:
    """What a process of its own prints."""
    text = PROGRAM.format(main=indent(main, "    "), before=before)
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@only_linux
def test_where_no_thread_can_be_started_calls_are_refused_until_one_can() -> None:
    main = """
threading.stack_size(256 * 1024 * 1024)
limits = resource.getrlimit(resource.RLIMIT_AS)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 50_000_000, limits[1]))
try:
    await call(lambda: "begun")
except Exception as error:
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_AS, limits)
threading.stack_size(0)
for number in range(40):
    assert await call(lambda: number) == number
print(len(threads._state.running()))
"""
    assert program(main) == ["ResourceExhausted", "1", "ended"]


@only_linux
def test_a_fork_beside_calls_under_way_leaves_the_parent_its_threads() -> None:
    main = """
await call(lambda: 0)
await asyncio.sleep(0.05)
waiting = asyncio.ensure_future(call(lambda: "waited"))
await asyncio.sleep(0)  # it is in the queue; the turn that is to wake a thread comes behind the fork
child = os.fork()
if not child:
    for _ in range(3):
        await asyncio.sleep(0)
    os._exit(0)
os.waitpid(child, 0)
print(await waiting)
for _ in range(3):
    await asyncio.sleep(0.2)  # the thread lies down and gets up again
    print(await call(lambda: "next"))
"""
    idle = "import xooai.threads; xooai.threads.IDLE = 0.1"
    assert program(main, idle) == ["waited", "next", "next", "next", "ended"]


@only_linux
def test_a_handler_that_forks_keeps_its_child_off_the_pool() -> None:
    main = """
def fork():
    child = os.fork()
    if not child:
        sys.exit()
    return child

await call(lambda: 0)
child = await call(fork)
await asyncio.sleep(0.3)  # the child has left the function
for _ in range(5):
    await call(lambda: 0, seconds=3)  # below the time after which an idle thread looks by itself
os.waitpid(child, 0)
print(len(os.listdir("/proc/self/fd")) < 30)
"""
    assert program(main) == ["True", "ended"]


@only_linux
def test_threads_do_without_what_python_was_built_without() -> None:
    assert program("print(await call(lambda: 1))", "del os.eventfd, os.eventfd_write") == ["1", "ended"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_ring_that_comes_late_is_heard_by_nobody_and_harms_nothing(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever rings stands still between taking the bell and ringing it, for longer than its thread waits."""
    monkeypatch.setattr("xooai.threads.IDLE", 0.05)
    kind = (bell.make, bell.LockBell)[number]
    is_late, rung = threading.Event(), 0

    class Late:
        def __init__(self) -> None:
            self._bell = kind()
            self.wait, self.close = self._bell.wait, self._bell.close

        def ring(self) -> None:
            nonlocal rung
            rung += 1
            if is_late.is_set():
                is_late.clear()
                threading.Event().wait(0.2)
            self._bell.ring()

    monkeypatch.setattr("xooai.threads.make", Late)
    threads = Threads(size=1)

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await threads.run(lambda: None, {})
            for count in range(5):
                await asyncio.sleep(0.01)  # the thread lies down
                is_late.set()
                assert await threads.run(lambda count=count: count, {}) == count

    asyncio.run(main())
    assert rung
    threads.close()
    threads.join(PATIENCE)
    assert not threads._state.running()


def test_calls_one_after_the_other_need_one_thread(pool: Callable[..., Threads]) -> None:
    before, threads, seen = workers(), pool(size=32), set()

    async def main() -> None:
        for _ in range(200):
            seen.add(await threads.run(threading.get_ident, {}))
            await asyncio.sleep(0.001)

    asyncio.run(main())
    assert len(seen) <= 3  # a call may come just before the thread of the last one lies down
    assert len(workers() - before) <= 3


def test_several_loops_share_a_pool(pool: Callable[..., Threads]) -> None:
    threads = pool(size=4)
    found: list[list[Any]] = []
    callers = [threading.Thread(target=lambda: found.append(run(threads, *[lambda: 1] * 50))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert found == [[1] * 50] * 4


def test_a_loop_that_closed_meanwhile_is_let_go(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1)
    started, release = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait(PATIENCE)

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        asyncio.ensure_future(threads.run(block, {}))
        await asyncio.to_thread(started.wait, PATIENCE)
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())  # cancels the call, not the thread
    release.set()
    assert run(threads, lambda: "next") == ["next"]
    gc.collect()
    assert loop() is None


def test_closing_ends_all_threads_at_once(pool: Callable[..., Threads]) -> None:
    before = workers()
    threads = pool(size=4)
    meeting = threading.Barrier(4)
    run(threads, *[lambda: meeting.wait(PATIENCE)] * 4)
    mine = workers() - before
    assert len(mine) == 4

    threads.close()

    for thread in mine:
        thread.join(2)  # well below the time after which an idle thread ends by itself
    assert not [thread for thread in mine if thread.is_alive()]
    assert not workers() - before - mine


def test_a_pool_that_was_closed_takes_work_again(pool: Callable[..., Threads]) -> None:
    threads = pool(size=2)
    for _ in range(20):
        assert run(threads, *[lambda: 1] * 5) == [1] * 5
        threads.close()
        threads.close()


def test_work_behind_the_closing_is_done(pool: Callable[..., Threads]) -> None:
    threads = pool(size=1)
    started, release = threading.Event(), threading.Event()

    def block() -> str:
        started.set()
        release.wait(PATIENCE)
        return "first"

    async def main() -> list[str]:
        first = asyncio.ensure_future(threads.run(block, {}))
        await asyncio.to_thread(started.wait, PATIENCE)
        threads.close()
        second = asyncio.ensure_future(threads.run(lambda: "second", {}))
        await asyncio.sleep(0)
        release.set()
        async with asyncio.timeout(PATIENCE):
            return list(await asyncio.gather(first, second))

    assert asyncio.run(main()) == ["first", "second"]


def test_an_idle_thread_ends_by_itself(pool: Callable[..., Threads], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xooai.threads.IDLE", 0.01)
    before = workers()
    threads = pool(size=2)
    assert run(threads, *[lambda: 1] * 4) == [1] * 4
    for thread in workers() - before:
        thread.join(PATIENCE)
    assert not workers() - before
    assert run(threads, lambda: 2) == [2]


def test_nothing_of_a_call_outlives_it(pool: Callable[..., Threads]) -> None:
    class Payload:
        pass

    threads = pool(size=1)
    payload = Payload()
    gone = weakref.ref(payload)

    async def main(thing: Payload) -> None:
        await threads.run(lambda thing: None, {"thing": thing})

    asyncio.run(main(payload))
    run(threads, lambda: None)
    del payload
    gc.collect()
    assert gone() is None
