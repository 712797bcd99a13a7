"""Keys with limits of their own, and callers without a right one."""

from __future__ import annotations

import asyncio
import http.client
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest
from holding import PATIENCE, Holding, eventually, waiting

from everywhere import served
from xooai import InvalidArgument, ResourceExhausted, Unauthenticated, Unavailable
from xooai.errors import Code
from xooai.keys import Keyring
from xooai.keys.file import Entry
from xooai.keys.share import Share, Shares
from xooai.tally import calls

pytest.importorskip("click")

from click.testing import CliRunner

from xooai.cli.keys import command

Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a key, by the command; return what its holder sends."""
    file = tmp_path / "keys.json"
    monkeypatch.setenv("XOOAI_KEYS", str(file))

    def key(*options: str, tenant: str = "acme") -> str:
        line = ["new", "--tenant", tenant, "--scope", "*", *options]
        ended = CliRunner().invoke(command, line, catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return ended.stdout.strip()

    return key


def invoked(*line: str) -> str:
    return CliRunner().invoke(command, line).output


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Serve = Callable[[], str]


@pytest.fixture
def start(scheme: str, works: Holding, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Serve:
    return lambda: served(works, scheme, request, monkeypatch)


def test_a_key_has_so_many_calls_under_way(make: Make, works: Holding, start: Serve) -> None:
    key, other = make("--limit", "1"), make(tenant="other")
    url = start()

    async def main() -> None:
        async with (
            Holding.at(url, retry=0, metadata={"authorization": key}) as client,
            Holding.at(url, retry=0, metadata={"authorization": other}) as another,
        ):
            first = asyncio.create_task(client.apost(on="any", x=0))
            await eventually(lambda: works.seen == [0])
            with pytest.raises(ResourceExhausted, match="this key may have 1 calls under way") as caught:
                await client.apost(on="any", x=-1)
            assert (caught.value.reason, caught.value.details["limit"]) == ("load", "caller")
            assert await another.apost(on="any", x=-2) == -2
            works.gate.set()
            await first
            assert await client.apost(on="any", x=-3) == -3

    asyncio.run(main())


def test_what_goes_on_without_its_caller_keeps_its_place(make: Make, works: Holding, start: Serve, scheme: str) -> None:
    key = make("--limit", "1")
    url, counted = start(), calls("holding", "any", scheme).codes
    left = counted[Code.CANCELLED] + 1

    async def main() -> None:
        async with Holding.at(url, retry=0, metadata={"authorization": key}) as client:
            first = asyncio.create_task(client.apost(on="any", x=0, metadata={"idempotency-key": "k"}))
            await eventually(lambda: works.seen == [0])
            first.cancel()
            await eventually(lambda: counted[Code.CANCELLED] == left)
            with pytest.raises(ResourceExhausted, match="this key may have 1 calls under way"):
                await client.apost(on="any", x=-1, metadata={"idempotency-key": "l"})
            works.gate.set()
            while True:
                with suppress(ResourceExhausted):
                    assert await client.apost(on="any", x=-2) == -2
                    return

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert works.seen == [0, -2]


def test_a_key_makes_so_many_calls_a_second(make: Make, works: Holding, start: Serve) -> None:
    key = make("--rate", "2/m")
    url = start()
    with Holding.at(url, retry=0, metadata={"authorization": key}) as client:
        assert client.post(on="any", x=-1) == -1
        with pytest.raises(ResourceExhausted, match=r"this key may make 0\.03\d* calls a second") as caught:
            client.post(on="any", x=-2)
    assert 20 < (caught.value.retry_after or 0) <= 30


@pytest.mark.parametrize("side", ["request", "reply"])
def test_a_key_moves_so_many_bytes_a_second(make: Make, works: Holding, start: Serve, side: str) -> None:
    key, other = make("--bandwidth", "1kB/s"), make(tenant="other")
    url = start()
    works.gate.set()
    with Holding.at(url, retry=0, metadata={"authorization": key}) as client:
        if side == "request":
            assert client.post(on="heavy", x=-1, body=bytes(30_000)) == -1
        else:
            assert len(client.post(on="large", size=30_000)) == 30_000
        with pytest.raises(ResourceExhausted, match="this key may move 1,000 bytes a second") as caught:
            client.post(on="any", x=-2)
    assert 20 < (caught.value.retry_after or 0) <= 45  # JSON has bytes in base64
    assert (caught.value.reason, caught.value.details["limit"]) == ("load", "caller")
    with Holding.at(url, metadata={"authorization": other}) as client:
        assert client.post(on="any", x=-3) == -3


def test_a_stream_goes_at_the_pace_of_its_key(make: Make, works: Holding) -> None:
    pytest.importorskip("uvicorn")
    key = make("--bandwidth", "200B/s")
    url = works.start("http://127.0.0.1:0")[0]
    works.gate.set()
    began = monotonic()
    with Holding.at(url, retry=0, metadata={"authorization": key}) as client:
        assert list(client.stream(on="many", x=200)) == list(range(200))
    # Of 127 + 2 * 73 bytes, and the opening, 200 come at once.
    assert monotonic() - began > 0.3


def test_a_stream_that_waits_for_its_pace_goes_to_its_end_while_its_server_drains(
    make: Make, works: Holding, start: Serve
) -> None:
    key = make("--bandwidth", "200B/s")
    url = start()
    works.gate.set()
    with Holding.at(url, retry=0, metadata={"authorization": key}) as client:
        items = client.stream(on="many", x=300)  # of 127 + 2 * 173 bytes, and the opening, 200 come at once
        found = [next(items) for _ in range(10)]
        stopping = threading.Thread(target=works.stop)
        stopping.start()
        assert [*found, *items] == list(range(300))
        stopping.join(PATIENCE)
    assert not stopping.is_alive()


@pytest.mark.parametrize("side", ["request", "reply"])
def test_a_stream_that_would_wait_for_longer_than_the_grace_is_cut_off(
    make: Make, works: Holding, scheme: str, side: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make("--bandwidth", "20B/s")
    started = partial(works.start, grace=0.3)
    monkeypatch.setattr(works, "start", started)
    url = served(works, scheme, request, monkeypatch)
    works.gate.set()
    with Holding.at(url, retry=0, metadata={"authorization": key}) as client:
        if side == "reply":
            items = client.stream(on="many", x=10_000)
            next(items)
        else:
            items = client.stream(on="summed", xs=iter(range(10_000)))
        began = monotonic()
        stopping = threading.Thread(target=works.stop)
        stopping.start()
        with pytest.raises(Unavailable):
            list(items)
        stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert monotonic() - began < PATIENCE  # the pace alone would take a thousand seconds


def test_bytes_are_counted_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("xooai.keys.share.monotonic", lambda: now)
    share = Share()
    share.pay(100.0, 100)
    assert share.owed() <= 0
    share.pay(100.0, 150)
    assert share.owed() == pytest.approx(1.5)
    now += 1.5
    assert share.owed() <= 0
    now += 3600
    share.pay(100.0, 200)  # what was not used is not kept
    assert share.owed() == pytest.approx(1)


def test_a_caller_claims_no_higher_priority_than_that_of_its_key(make: Make, works: Holding) -> None:
    pytest.importorskip("uvicorn")
    low, high = make("--priority", "1"), make("--priority", "5", tenant="urgent")
    url = works.start("http://127.0.0.1:0")[0]

    async def main() -> None:
        async with Holding.at(url, retry=0) as client:

            def call(x: int, key: str, priority: str) -> asyncio.Task[int]:
                metadata = {"authorization": key, "xooai-priority": priority}
                return asyncio.create_task(client.apost(on="one", x=x, metadata=metadata, timeout=20))

            tasks = [call(0, low, "0")]
            await eventually(lambda: works.seen == [0])
            for number, (key, priority) in enumerate([(low, "9"), (high, "2"), (low, "-1")], start=1):
                tasks.append(call(number, key, priority))
                await eventually(lambda: waiting(works) == len(tasks) - 1)
            works.gate.set()
            await asyncio.gather(*tasks)

    asyncio.run(main())
    assert works.seen == [0, 2, 1, 3]


def statuses(url: str, authorization: str, times: int) -> Iterator[tuple[int, str | None]]:
    """What a client that is none of ours is answered; with when to come back."""
    where = urlsplit(url)
    for _ in range(times):
        with closing(http.client.HTTPConnection(where.netloc, timeout=20)) as connection:
            headers = {"authorization": authorization, "content-type": "application/json"}
            connection.request("POST", "/holding/any", '{"x": -1}', headers)
            answer = connection.getresponse()
            yield answer.status, answer.headers["retry-after"]


def test_who_tries_many_keys_is_sent_away_and_the_log_has_one_line(
    make: Make, works: Holding, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("uvicorn")
    key = make()
    wrong = f"Bearer xo_{'0' * 16}_{'A' * 43}"
    url = works.start("http://127.0.0.1:0")[0]
    with caplog.at_level(logging.WARNING, "xooai.keys"):
        found = list(statuses(url, wrong, 25))
    assert [status for status, _ in found] == [401] * 20 + [429] * 5
    assert all(1 <= int(after or 0) <= 60 for _, after in found[20:])
    (line,) = [record.getMessage() for record in caplog.records if record.name == "xooai.keys"]
    assert line == "calls with keys that are not known here were refused: 1, the last one from 127.0.0.1"
    assert list(statuses(url, key, 1)) == [(200, None)]


def test_over_every_driver_who_tries_many_keys_is_sent_away(make: Make, start: Serve) -> None:
    make()
    url = start()
    wrong = {"authorization": f"Bearer xo_{'0' * 16}_{'A' * 43}"}
    errors = []
    with Holding.at(url, retry=0) as client:
        for _ in range(22):
            with pytest.raises((Unauthenticated, ResourceExhausted)) as caught:
                client.post(on="any", x=-1, metadata=wrong)
            errors.append(type(caught.value))
    assert errors == [Unauthenticated] * 20 + [ResourceExhausted] * 2


def test_the_rate_is_kept_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("xooai.keys.share.monotonic", lambda: now)
    entry, share = Entry("one", ("*",), "acme", None, rate=4.0), Share()  # type: ignore[arg-type]

    def begun() -> int:
        """How many calls go now, one after the other."""
        for number in range(100):
            try:
                share.begin(entry)
            except ResourceExhausted:
                return number
            share.end()
        return 100

    assert begun() == 4
    now += 0.25
    assert begun() == 1
    now += 0.5
    assert begun() == 2
    now += 3600
    assert begun() == 4
    now -= 1800  # no clock of this kind does, and if it did, nobody would be let in for that
    assert begun() == 0


def test_of_keys_that_are_used_no_more_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("xooai.keys.share.monotonic", lambda: now)
    shares = Shares()

    def entry(name: str) -> Entry:
        return Entry(name, ("*",), "acme", None, limit=1, rate=1.0, bandwidth=1000.0)  # type: ignore[arg-type]

    def used(name: str) -> Share:
        share = shares.of(entry(name))
        assert share is not None
        return share

    running, owing, early = used("running"), used("owing"), used("early")
    running.begin(entry("running"))
    owing.pay(1000.0, 10**9)
    for number in range(10_000):
        now += 1
        early.begin(entry("early"))
        early.end()
        one = used(f"key {number}")
        one.begin(entry(f"key {number}"))
        one.pay(1000.0, 100)
        one.end()
        early = used("early")
        assert len(shares) < 200
    assert used("running") is running
    assert used("owing") is owing
    with pytest.raises(ResourceExhausted, match="may have 1 calls"):
        used("running").begin(entry("running"))
    with pytest.raises(ResourceExhausted, match="calls a second"):
        used("early").begin(entry("early"))


def test_limits_are_listed_and_kept_by_a_new_key_in_the_place_of_an_old_one(make: Make, tmp_path: Path) -> None:
    key = make("--limit", "8", "--rate", "6000/m", "--bandwidth", "1MiB", "--priority", "-3")
    invoked("rotate", key.split("_")[1])
    table = " ".join(invoked("list").split())
    assert table.count("8 at") == 2
    assert table.count("100/s") == 2
    assert table.count("1,048,576") == 2


@pytest.mark.parametrize("wrong", ["0", "-1MB", "10", "10Mb", "0.5B/s", "1MB/m", "nan", "10 mb", "1e9B"])
def test_what_is_no_bandwidth_is_refused(make: Make, wrong: str) -> None:
    told = invoked("new", "--tenant", "acme", "--scope", "*", "--bandwidth", wrong)
    assert "is no number of bytes a second; it looks like 10MB/s" in " ".join(told.split())


@pytest.mark.parametrize("rate", ["0", "-1/s", "fast", "1/day", "nan", "inf/s", "1e400"])
def test_what_is_no_rate_is_refused(make: Make, rate: str) -> None:
    assert "is no number of calls in a time" in invoked("new", "--tenant", "acme", "--scope", "*", "--rate", rate)


@pytest.mark.parametrize(
    "wrong",
    [
        '"limit": 0',
        '"limit": "many"',
        '"rate": 0',
        '"rate": -1',
        '"bandwidth": 0',
        '"bandwidth": "10MB"',
        '"priority": 10',
        '"priority": 1.5',
    ],
)
def test_a_file_with_what_is_no_limit_is_not_read(make: Make, tmp_path: Path, wrong: str) -> None:
    make()
    file = tmp_path / "keys.json"
    file.write_text(file.read_text().replace('"tenant"', f'{wrong}, "tenant"'))
    with pytest.raises(InvalidArgument):
        Keyring(file)
