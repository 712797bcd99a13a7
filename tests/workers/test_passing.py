"""Calls that a worker passes on to another one are answered as if there were none between."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from beside import GLANCE, eventually, ready
from supervised import PATIENCE, Program, running
from worker_program import Faulty

from xooai import (
    Executor,
    Internal,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    current,
    hosting,
    post,
    stream,
    tally,
)
from xooai.driver import ListenOptions
from xooai.ending import Ending
from xooai.workers import passing
from xooai.workers.passing import Passing
from xooai.workers.table import MANY, State, Table

pytest.importorskip("uvicorn", reason="needs the extra http")
pytest.importorskip("grpc", reason="needs the extra grpc")

LONG = 4 * passing.WORTH  # seconds that a handler takes whose calls are passed on
PROGRAM = Path(__file__).with_name("worker_program.py")


async def passed_on(client: Work) -> None:
    """Wait until calls are: at first the busy worker is not connected to the other."""
    async with asyncio.timeout(PATIENCE):
        while await client.apost(on="slow") == "busy":  # noqa: ASYNC110 - as above
            await asyncio.sleep(GLANCE)


class Work(Executor):
    def __init__(self, place: str) -> None:
        super().__init__(name="work")
        self.place = place
        self.held = 0
        self.gate = asyncio.Event()

    @post
    async def slow(self) -> str:
        await asyncio.sleep(LONG)
        return self.place

    @post
    async def hold(self) -> str:
        self.held += 1
        await self.gate.wait()
        return self.place

    @post
    async def who(self) -> str:
        await asyncio.sleep(LONG)
        return f"{current().identity} at {self.place}"

    @post(limit=1)
    async def heavy(self, body: bytes) -> int:
        self.held += 1
        await self.gate.wait()
        return len(body)

    @post
    async def refuse(self) -> None:
        raise NotFound(f"nothing at {self.place}", details={"place": self.place})

    @post
    async def fail(self) -> None:
        raise ValueError(self.place)

    @post
    async def tell(self, name: str) -> str:
        await asyncio.sleep(LONG)
        current().reply_metadata[name] = "told"
        return self.place

    @stream
    async def count(self, to: int) -> AsyncIterator[str]:
        for number in range(to):
            yield f"{number} at {self.place}"


class Worker:
    """One that serves in this process, beside another."""

    def __init__(self, url: str, work: Work, table: Table, row: int, folder: str) -> None:
        self.url, self.work = url, work
        self.passing = Passing(table, row, folder)
        self.calls = partial(table.freest, 1 - row, {})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        hosted, urls = self.work._xooai_hosted(), (self.url,)
        try:
            async with hosting.listening([hosted], urls, ListenOptions(), Ending(5), passing=self.passing) as (
                site,
                all_,
            ):
                self.url = all_[0].url
                near = await self.passing.listen(site)
                assert near is not None
                self.near = near
                all_.append(near)
                yield
                self.work.gate.set()
        finally:
            await self.passing.aclose()


class Two:
    """Two workers: calls to the `busy` one are passed on to the `free` one, since it has a call under way."""

    def __init__(self, scheme: str, folder: str) -> None:
        self.scheme, table, url = scheme, ready(2), f"{scheme}://127.0.0.1:0"
        works = Work("busy"), Work("free")
        self.busy, self.free = (Worker(url, work, table, row, folder) for row, work in enumerate(works))

    @asynccontextmanager
    async def calling(self, **metadata: str) -> AsyncIterator[Work]:
        """A client of the busy one, which is connected to the other."""
        async with AsyncExitStack() as stack:
            for one in (self.busy, self.free):
                await stack.enter_async_context(one.listening())
            client = await stack.enter_async_context(Work.at(self.busy.url, retry=0, metadata=metadata))
            self.held = asyncio.create_task(client.apost(on="hold"))
            try:
                await eventually(lambda: self.busy.work.held)
                await passed_on(client)
                yield client
            finally:
                self.busy.work.gate.set()
                assert await self.held == "busy"
            await eventually(lambda: {one.calls()[1] for one in (self.busy, self.free)} == {0})


@pytest.fixture(params=["http", "grpc"])
def two(request: pytest.FixtureRequest, sockets: str) -> Two:
    return Two(request.param, sockets)


def test_while_a_worker_has_a_call_others_go_to_one_that_has_none(two: Two) -> None:
    async def main() -> None:
        key = ("passed_on", two.scheme, "", "")
        async with two.calling() as client:
            before = tally.counted()[2][key]
            assert await client.apost(on="slow") == "free"
            assert [one async for one in client.astream("count", to=2)] == ["0 at free", "1 at free"]
            assert tally.counted()[2][key] == before + 2
            two.busy.work.gate.set()
            await two.held
            assert await client.apost(on="slow") == "busy"

    asyncio.run(main())


def test_calls_that_are_as_many_at_both_stay(two: Two) -> None:
    async def main() -> None:
        async with two.calling() as client:
            held = asyncio.create_task(client.apost(on="hold"))
            await eventually(lambda: two.free.work.held)
            assert await client.apost(on="slow") == "busy"
            two.free.work.gate.set()
            assert await held == "free"

    asyncio.run(main())


def test_what_takes_no_longer_than_passing_it_on_stays(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with two.calling() as client:
            monkeypatch.setattr(passing, "WORTH", PATIENCE)
            assert await client.apost(on="slow") == "busy"

    asyncio.run(main())


def test_what_the_server_tells_of_itself_stays(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        key = ("passed_on", two.scheme, "", "")
        async with two.calling():
            monkeypatch.setattr(passing, "WORTH", 1e-9)
            before = tally.counted()[2][key]
            for _ in range(3):
                async with Executor(f"{two.busy.url}/work") as stranger:  # asks what there is
                    assert await stranger.apost("slow") == "free"
                await asyncio.sleep(2 * tally.SAMPLED)
            assert tally.counted()[2][key] == before + 3

    asyncio.run(main())


def test_a_call_with_an_idempotency_key_stays_where_the_key_is_known(two: Two) -> None:
    async def main() -> None:
        async with two.calling() as client:
            assert await client.apost(on="slow", metadata={"idempotency-key": "one"}) == "busy"

    asyncio.run(main())


def test_errors_come_as_they_were_raised(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with two.calling() as client:
            with pytest.raises(NotFound, match="nothing at free") as refused:
                await client.apost(on="refuse")
            assert refused.value.details == {"place": "free"}
            assert refused.value.id is not None
            with pytest.raises(Internal, match="the handler failed") as failed:
                await client.apost(on="fail")
            assert f"call {failed.value.id} to work/fail failed" in caplog.text

    asyncio.run(main())


def test_a_reply_that_cannot_be_written_is_told_of(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with two.calling() as client:
            assert await client.apost(on="tell", name="x-told") == "free"
            with pytest.raises(Internal, match="the reply cannot be written; the server's log") as failed:
                await client.apost(on="tell", name="no name")
            assert f"call {failed.value.id}: the reply of another worker cannot be written" in caplog.text

    asyncio.run(main())


def test_a_call_ends_at_once_whose_worker_has_ended(two: Two) -> None:
    async def main() -> None:
        async with two.calling() as client:
            held = asyncio.create_task(client.apost(on="hold"))
            await eventually(lambda: two.free.work.held)
            for line in list(two.free.near.lines):
                line.transport.abort()
            with pytest.raises(Unavailable, match="the worker that answered this call has ended") as lost:
                await held
            assert lost.value.details["reason"] == "worker_lost"
            await eventually(lambda: two.free.calls()[1] == 0)  # it was cancelled there
            await passed_on(client)  # it is connected anew

    asyncio.run(main())


def test_those_wait_whose_requests_have_room_where_they_are_passed_on(two: Two) -> None:
    async def main() -> None:
        body, waiting = bytes(24 * 2**20), ("calls", "work", "heavy")
        async with two.calling() as client:
            two.busy.passing._under_way += 10  # so that all calls are passed on
            calls = [asyncio.create_task(client.apost(on="heavy", body=b""))]
            await eventually(lambda: two.free.work.held)
            for number in (1, 2):
                calls.append(asyncio.create_task(client.apost(on="heavy", body=body)))
                await eventually(lambda number=number: tally.waiting()[waiting] == number)  # type: ignore[misc]
            with pytest.raises(ResourceExhausted, match="1 calls under way and 2 waiting"):
                await client.apost(on="heavy", body=body)
            two.free.work.gate.set()
            assert await asyncio.gather(*calls) == [0, len(body), len(body)]
            two.busy.passing._under_way -= 10

    asyncio.run(main())


def test_a_worker_that_drains_ends_its_calls_and_gets_no_more(two: Two) -> None:
    async def main() -> None:
        async with two.calling() as client:
            held = asyncio.create_task(client.apost(on="hold"))
            await eventually(lambda: two.free.work.held)
            closing = asyncio.create_task(two.free.near.aclose(PATIENCE))
            await eventually(lambda: all(line.has_left for line in two.free.near.lines))
            two.busy.work.gate.clear()
            more = [asyncio.create_task(client.apost(on="hold")) for _ in range(4)]
            await eventually(lambda: two.busy.work.held == 5)
            two.free.work.gate.set()
            two.busy.work.gate.set()
            assert await held == "free"
            assert set(await asyncio.gather(*more)) == {"busy"}
            await closing

    asyncio.run(main())


def test_who_is_asked_for_a_key_is_asked_where_the_call_is_answered(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testing = pytest.importorskip("click.testing", reason="needs the extra http")
    monkeypatch.setenv("XOOAI_KEYS", str(tmp_path / "keys"))
    command = pytest.importorskip("xooai.cli.keys", reason="needs the extra http").command
    made = testing.CliRunner().invoke(command, ["new", "--tenant", "acme", "--scope", "*"], catch_exceptions=False)

    async def main() -> None:
        async with two.calling(authorization=made.stdout.strip()) as client:
            assert await client.apost(on="who") == "acme at free"
            async with Work.at(two.busy.url, retry=0) as stranger:
                with pytest.raises(Unauthenticated):
                    await stranger.apost(on="who")

    asyncio.run(main())


def test_a_worker_is_taken_for_having_what_it_was_passed() -> None:
    table = ready(3)
    table.under_way(0)[0] = 5
    table.under_way(1)[0] = 2
    assert table.freest(0, {}) == (2, 0)
    assert table.freest(0, {2: 3}) == (1, 2)  # it has not seen them yet
    table.tell(2, State.NONE)
    assert table.freest(0, {}) == (1, 2)
    table.tell(1, State.STARTS)
    assert table.freest(0, {}) == (0, MANY)


def test_where_a_socket_cannot_be_made_calls_stay(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 120)  # longer than the name of a socket may be
    folder.mkdir()
    with running([str(PROGRAM), "grpc://127.0.0.1:0", "2"], TMPDIR=str(folder)) as program:
        with Faulty.at(program.urls[0]) as client:
            assert len(pids(client, 4)) == 1
        assert program.end(signal.SIGTERM) == 0
        assert "no calls are passed on to this worker" in program.said()


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with running([str(PROGRAM), "grpc://127.0.0.1:0", "2"]) as found:
        yield found


def pids(client: Faulty, count: int) -> Counter[str]:
    """The processes that have answered so many calls at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return Counter(threads.map(lambda _: client.post(on="wait", seconds=0.3), range(count)))


def of_both(client: Faulty) -> set[str]:
    """The processes of both workers, once the client's own is connected to the other."""
    until = time.monotonic() + PATIENCE
    while len(found := pids(client, 2)) < 2:
        assert time.monotonic() < until
    return set(found)


def test_a_client_with_one_connection_has_all_workers(program: Program) -> None:
    with Faulty.at(program.urls[0]) as client:
        found = of_both(client)
        shares = pids(client, 8)

    assert set(shares) == found
    assert min(shares.values()) >= 2


def test_busy_clients_whose_connections_one_worker_has_are_not_its_alone() -> None:
    with running([str(PROGRAM), "http://127.0.0.1:0", "2"]) as program, ExitStack() as stack:
        clients = [stack.enter_context(Faulty.at(program.urls[0])) for _ in range(8)]
        busy = [client for client in clients if client.post(on="who")["number"] == "1"]
        assert len(busy) >= 2  # they were dealt
        threads = stack.enter_context(ThreadPoolExecutor(len(busy)))
        until = time.monotonic() + PATIENCE
        while len(set(threads.map(lambda client: client.post(on="wait", seconds=0.3), busy))) < 2:
            assert time.monotonic() < until


def test_a_worker_that_is_killed_takes_with_it_what_it_was_passed_alone(program: Program) -> None:
    with Faulty.at(program.urls[0], retry=0) as client, ThreadPoolExecutor(8) as threads:
        found = of_both(client)
        own = client.post(on="wait", seconds=0.01)  # nothing is under way: its own worker answers
        (other,) = found - {own}
        calls = [threads.submit(client.post, on="wait", seconds=4.0) for _ in range(8)]
        ended: list[str] = []
        begun = Path(f"/proc/{other}")
        time.sleep(1.5)  # for calls to come to both
        os.kill(int(other), signal.SIGKILL)
        for call in calls:
            try:
                ended.append(call.result())
            except Unavailable as error:
                assert error.details["reason"] == "worker_lost"
        program.until("is ready")
        assert not begun.exists()
        assert other not in of_both(client)  # its successor has its part

    assert set(ended) == {own}
    assert len(ended) < len(calls)
