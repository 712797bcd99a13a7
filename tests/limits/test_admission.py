"""Calls that come when enough are under way: who waits, who goes first, who is refused, and with which words."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from holding import PATIENCE, Holding, eventually, refused, waiting

from authority import Authority
from everywhere import served
from xooai import DeadlineExceeded, Executor, InvalidArgument, ResourceExhausted, plugins, post, serve, stream
from xooai.call import Call as Handled
from xooai.driver import Head, ListenOptions
from xooai.hosting import Background
from xooai.layers.limit import Gate
from xooai.memory import MemoryChannel

Call = Callable[..., "asyncio.Task[Any]"]


@asynccontextmanager
async def calling(client: Any) -> AsyncIterator[Call]:
    """Begin calls of `one` by their numbers; each is answered, or refused, in the end."""
    tasks: list[asyncio.Task[Any]] = []

    def call(x: int, on: str = "one", **options: Any) -> asyncio.Task[Any]:
        options.setdefault("timeout", PATIENCE)
        tasks.append(asyncio.create_task(client.apost(on=on, x=x, **options)))
        return tasks[-1]

    try:
        yield call
    finally:
        await asyncio.gather(*tasks, return_exceptions=True)


def scene(works: Holding, url: str, play: Callable[[Call], Awaitable[None]]) -> None:
    """Play it with one call, number 0, under way: then no place is free."""

    async def main() -> None:
        async with Holding.at(url, retry=0) as client, calling(client) as call:
            call(0)
            await eventually(lambda: works.seen == [0])
            try:
                await play(call)
            finally:
                works.gate.set()

    asyncio.run(main())


def test_those_that_find_no_place_wait_in_order_and_those_beyond_are_refused(works: Holding, url: str) -> None:
    async def play(call: Call) -> None:
        tasks = []
        for number in (1, 2, 3):
            tasks.append(call(number))
            await eventually(lambda: waiting(works) == len(tasks))
        with pytest.raises(ResourceExhausted, match="1 calls under way and 3 waiting") as caught:
            await call(4)
        assert caught.value.reason == "load"
        assert 1 <= (caught.value.retry_after or 0) <= 30
        works.gate.set()

    scene(works, url, play)
    assert works.seen == [0, 1, 2, 3]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_those_wait_whose_requests_have_room(works: Holding, scheme: str) -> None:
    plugins.driver(scheme)
    url, body = works.start(f"{scheme}://127.0.0.1:0")[0], bytes(24 * 2**20)

    async def main() -> None:
        async with Holding.at(url, retry=0) as client, calling(client) as call:
            call(0, on="heavy", body=b"")
            await eventually(lambda: works.seen == [0])
            for number in (1, 2):
                call(number, on="heavy", body=body)
                await eventually(lambda number=number: waiting(works, "heavy") == number)  # type: ignore[misc]
            with pytest.raises(ResourceExhausted, match="1 calls under way and 2 waiting"):
                await call(3, on="heavy", body=body)
            call(4, on="heavy", body=b"")
            await eventually(lambda: waiting(works, "heavy") == 3)
            works.gate.set()

    asyncio.run(main())
    assert works.seen == [0, 1, 2, 4]


def test_who_leaves_the_queue_gives_up_the_place_in_it_and_is_never_run(works: Holding, url: str) -> None:
    async def play(call: Call) -> None:
        leaving = [call(number) for number in (1, 2, 3)]
        await eventually(lambda: waiting(works) == 3)
        for task in leaving:
            task.cancel()
        await eventually(lambda: waiting(works) == 0)
        works.gate.set()
        assert await call(-1) == -1

    scene(works, url, play)
    assert works.seen == [0, -1]


def test_what_has_expired_in_the_queue_is_never_run(works: Holding, url: str) -> None:
    async def play(call: Call) -> None:
        with pytest.raises(DeadlineExceeded):
            await call(1, timeout=0.1)
        await eventually(lambda: waiting(works) == 0)
        works.gate.set()
        assert await call(-1) == -1

    scene(works, url, play)
    assert works.seen == [0, -1]


def test_the_more_urgent_goes_first_and_takes_the_place_of_the_less_urgent(works: Holding, url: str) -> None:
    async def play(call: Call) -> None:
        numbers = {1: "0", 2: "-3", 3: "5"}
        tasks = {}
        for number, priority in numbers.items():
            tasks[number] = call(number, metadata={"xooai-priority": priority})
            await eventually(lambda: waiting(works) == len(tasks))
        tasks[4] = call(4, metadata={"xooai-priority": "9"})
        with pytest.raises(ResourceExhausted):
            await tasks[2]
        with pytest.raises(ResourceExhausted):
            await call(5, metadata={"xooai-priority": "-9"})
        works.gate.set()

    scene(works, url, play)
    assert works.seen == [0, 4, 3, 1]


def test_a_stream_counts_as_long_as_it_lasts(works: Holding, url: str) -> None:
    async def main() -> None:
        async with Holding.at(url, retry=0) as client:
            first = client.astream(on="many", x=2)
            step = asyncio.ensure_future(anext(first))
            await eventually(lambda: works.seen == [0])
            with pytest.raises(ResourceExhausted):
                await anext(client.astream(on="many", x=1))
            works.gate.set()
            assert [await step] + [item async for item in first] == [0, 1]
            assert [item async for item in client.astream(on="many", x=1)] == [0]

    asyncio.run(main())


def test_a_def_with_a_limit_has_as_many_threads(works: Holding, http: str) -> None:
    async def main() -> None:
        async with Holding.at(http, retry=0) as client, calling(client) as call:
            for number in range(8):
                call(number, on="threaded")
            await eventually(lambda: len(works.seen) == 8)
            with pytest.raises(ResourceExhausted):
                await call(9, on="threaded")
            works.gate.set()

    asyncio.run(main())


def asked(url: str, x: int, source: str = "127.0.0.1", **headers: str) -> http.client.HTTPConnection:
    """Send a call of `one` from an address of this machine, by a client that is none of ours."""
    where = urlsplit(url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, PATIENCE, source_address=(source, 0))
    connection.request(
        "POST", f"{where.path}/holding/one", json.dumps({"x": x}), {"content-type": "application/json", **headers}
    )
    return connection


def test_over_http_a_refusal_says_503_and_when_to_come_back_in_whole_seconds(works: Holding, http: str) -> None:
    async def play(call: Call) -> None:
        held = [call(number) for number in (1, 2, 3)]
        await eventually(lambda: waiting(works) == 3)
        with closing(asked(http, 4)) as connection:
            answer = await asyncio.to_thread(connection.getresponse)
            assert answer.status == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 30
            assert json.load(answer)["details"]["reason"] == "load"
        assert not any(task.done() for task in held)

    scene(works, http, play)


def test_over_quic_a_refusal_says_so_to_clients_of_others(
    works: Holding, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    curl_cffi = pytest.importorskip("curl_cffi")
    url = served(works, "quic", request, monkeypatch)
    authority: Authority = request.getfixturevalue("authority")
    where = f"{url.replace('quic:', 'https:')}/holding/one"

    def ask() -> Any:
        only = {"http_version": curl_cffi.CurlHttpVersion.V3ONLY, "verify": str(authority.trust)}
        with curl_cffi.Session(**only, timeout=PATIENCE) as session:
            return session.post(where, json={"x": 4})

    async def play(call: Call) -> None:
        held = [call(number) for number in (1, 2, 3)]
        await eventually(lambda: waiting(works) == 3)
        answer = await asyncio.to_thread(ask)
        assert answer.status_code == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert answer.json()["details"]["reason"] == "load"
        assert not any(task.done() for task in held)

    scene(works, url, play)


def test_over_grpc_a_refusal_says_so_to_clients_of_others(
    works: Holding, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    grpc: Any = pytest.importorskip("grpc")
    url = served(works, "grpc", request, monkeypatch)

    def ask() -> Any:
        with grpc.insecure_channel(url.removeprefix("grpc://")) as channel:
            method = channel.unary_unary("/holding/one")
            with pytest.raises(grpc.RpcError) as raised:
                method(b'{"x": 4}', timeout=PATIENCE)
            return raised.value

    async def play(call: Call) -> None:
        held = [call(number) for number in (1, 2, 3)]
        await eventually(lambda: waiting(works) == 3)
        error = await asyncio.to_thread(ask)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 1_000 <= int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) <= 30_000
        assert not any(task.done() for task in held)

    scene(works, url, play)


def test_callers_take_turns_however_much_one_of_them_sends(works: Holding, http: str) -> None:
    async def play(call: Call) -> None:
        flood = [call(number) for number in (1, 2, 3)]
        await eventually(lambda: waiting(works) == 3)
        other = asked(http, 10, source="127.0.0.2")  # takes the place of the last one of who has all
        with pytest.raises(ResourceExhausted, match="calls under way"):
            await flood[2]
        too_much = await asyncio.gather(call(4), return_exceptions=True)
        assert refused(too_much[0]).details["limit"] == "caller"
        with closing(asked(http, 5)) as connection:
            assert (await asyncio.to_thread(connection.getresponse)).status == 429
        works.gate.set()
        with closing(other):
            assert (await asyncio.to_thread(other.getresponse)).status == 200

    scene(works, http, play)
    assert works.seen == [0, 1, 10, 2]


@pytest.fixture
def whole(works: Holding) -> Iterator[str]:
    pytest.importorskip("uvicorn")
    background = Background([works._xooai_local()], ["http://127.0.0.1:0"], ListenOptions(limit=1, queue=0), 1)
    yield background.start()[0]
    works.gate.set()
    background.stop()


def test_a_limit_of_the_whole_server_is_one_for_all_endpoints(works: Holding, whole: str) -> None:
    async def main() -> None:
        async with Holding.at(whole, retry=0) as client, calling(client) as call:
            call(0, on="any")
            await eventually(lambda: works.seen == [0])
            with pytest.raises(ResourceExhausted, match="this server has 1 calls under way"):
                await call(1)
            assert "holding" in str(await asyncio.to_thread(lambda: asked_for(f"{whole}/openapi.json")))
            works.gate.set()

    asyncio.run(main())


def asked_for(url: str) -> bytes:
    where = urlsplit(url)
    with closing(http.client.HTTPConnection(where.netloc, timeout=PATIENCE)) as connection:
        connection.request("GET", where.path)
        return connection.getresponse().read()


def test_calls_within_the_process_are_not_held_up(works: Holding) -> None:
    assert [works.post(on="one", x=-number) for number in range(1, 6)] == [-1, -2, -3, -4, -5]


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"limit": 1.5}, {"limit": True}, {"queue": -1}, {"queue": "many"}], ids=str
)
@pytest.mark.parametrize("decorator", [post, stream], ids=["post", "stream"])
def test_what_is_no_number_of_calls_is_refused_where_it_is_said(decorator: Any, options: dict[str, Any]) -> None:
    async def never(self: Executor, x: int) -> AsyncIterator[int]:
        yield x

    with pytest.raises(TypeError, match="never: (limit|queue)=.* is no number of calls; a whole number from [01] on"):
        decorator(**options)(never)


def test_a_queue_of_the_whole_server_goes_with_a_limit(works: Holding) -> None:
    with pytest.raises(InvalidArgument, match="goes with limit="):
        works.start("http://127.0.0.1:0", queue=8)
    with pytest.raises(InvalidArgument, match="limit=0 is no number of calls"):
        serve(works, limit=0)


def test_calls_that_are_given_up_end_no_others(works: Holding, url: str) -> None:
    async def main() -> None:
        async with Holding.at(url, retry=0) as client:
            other = asyncio.create_task(client.apost(on="any", x=0, timeout=PATIENCE))
            await eventually(lambda: works.seen == [0])
            for _ in range(2):  # more at a time than a connection takes, so that some are given up before they are sent
                calls = (client.apost(on="any", x=1, timeout=0.05) for _ in range(150))
                ends = await asyncio.gather(*calls, return_exceptions=True)
                assert {type(end) for end in ends} == {DeadlineExceeded}
            works.gate.set()
            assert await other == 0

    asyncio.run(main())


@pytest.mark.parametrize("is_its_turn", [False, True])
def test_a_call_that_is_closed_while_it_waits_keeps_no_place(is_its_turn: bool) -> None:
    endpoint = Holding._xooai_declared.endpoints["one"]
    begun: list[str] = []

    async def main() -> None:
        gate, going_on = Gate("holding/one", 1, 3), asyncio.Event()

        async def service(call: Handled) -> None:
            begun.append(call.head.peer)
            await going_on.wait()

        def call(peer: str) -> Any:
            return gate.around(service)(Handled(endpoint, MemoryChannel(Head("/holding/one", "", peer=peer), b"")))

        first = asyncio.create_task(call("first"))
        await asyncio.sleep(0)
        closed = call("closed")
        closed.send(None)
        last = asyncio.create_task(call("last"))
        await asyncio.sleep(0)
        assert gate.waiting == 2
        going_on.set()
        if is_its_turn:
            await first
        closed.close()
        await asyncio.wait_for(asyncio.gather(first, last), PATIENCE)
        assert (gate.running, gate.waiting) == (0, 0)

    asyncio.run(main())
    assert begun == ["first", "last"]


def test_calls_that_are_closed_after_their_loop_raise_nothing() -> None:
    endpoint = Holding._xooai_declared.endpoints["one"]
    loop = asyncio.new_event_loop()
    gate = Gate("holding/one", 1, 3)

    async def service(_: Handled) -> None:
        await asyncio.get_running_loop().create_future()

    async def begin() -> list[Any]:
        through: Any = gate.around(service)
        calls = [through(Handled(endpoint, MemoryChannel(Head("/holding/one", ""), b""))) for _ in "abc"]
        for call in calls:
            call.send(None)
        return calls

    calls = loop.run_until_complete(begin())
    loop.close()
    for call in calls:
        call.close()
    assert (gate.running, gate.waiting) == (0, 0)
