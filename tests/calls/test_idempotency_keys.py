"""Calls with the same idempotency key are one: whoever sends it again is given how the first one ended."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import (
    AlreadyExists,
    DeadlineExceeded,
    Executor,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Text,
    Unavailable,
    current,
    plugins,
    post,
    stream,
)
from xooai.errors import Code
from xooai.layers.ledger import Ended, Ledger
from xooai.tally import calls, waiting

__all__ = ["poller"]

SOON = 20.0  # seconds: what waits longer fails


class Till(Executor):
    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.raised: BaseException = SystemExit()
        self.begun = asyncio.Event()
        self.release = asyncio.Event()

    @post
    async def pay(self, amount: int) -> int:
        self.runs += 1
        current().reply_metadata["x-run"] = str(self.runs)
        return amount + self.runs

    @post
    async def pay_slowly(self) -> int:
        self.runs += 1
        self.loop = asyncio.get_running_loop()
        self.begun.set()
        await asyncio.wait_for(self.release.wait(), SOON)
        return self.runs

    @post
    async def fail(self, how: str) -> int:
        self.runs += 1
        if how == "cancelled":
            raise asyncio.CancelledError
        if how == "unsendable":
            current().reply_metadata["x"] = "line\nbreak"
            return 1
        raise {"typed": NotFound("no"), "full": ResourceExhausted("full"), "own": RuntimeError("secret"),
               "busy": Unavailable("not yet", details={"retry_after": 1}),
               "gone": FailedPrecondition("gone", details={"left": 3})}[how]  # fmt: skip

    @post
    async def exit(self) -> int:
        self.runs += 1
        raise self.raised

    @post
    async def take(self, doc: Text) -> int:
        self.runs += 1
        return self.runs

    @post(limit=1)
    async def one_at_a_time(self) -> int:
        return await self.pay_slowly()

    @post(batch_size=2, batch_wait=0)
    async def pay_together(self, amount: list[int]) -> list[int]:
        await self.pay_slowly()
        return amount

    @stream
    async def many(self) -> AsyncIterator[int]:
        yield 1


@pytest.fixture
def till() -> Iterator[Till]:
    with Till() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def url(request: pytest.FixtureRequest, till: Till, monkeypatch: pytest.MonkeyPatch) -> str:
    return served(till, request.param, request, monkeypatch)


@pytest.fixture
def http(till: Till) -> str:
    plugins.driver("http")
    return till.start("http://127.0.0.1:0")[0]


def keyed(key: str) -> dict[str, Any]:
    return {"metadata": {"idempotency-key": key}}


def test_a_call_that_is_sent_again_is_answered_as_before(till: Till, url: str) -> None:
    with Till.at(url) as there:
        assert [there.post("pay", amount=10, **keyed(key)) for key in ("a", "a", "b", "a")] == [11, 11, 12, 11]
        assert [there.post("pay", amount=10) for _ in range(2)] == [13, 14]
    assert till.runs == 4


def test_calls_at_the_same_time_run_once(till: Till, url: str) -> None:
    async def scene() -> None:
        async with Till.at(url) as there, asyncio.TaskGroup() as group:
            calls = [group.create_task(there.apost("pay_slowly", **keyed("k"))) for _ in range(8)]
            await asyncio.to_thread(_wait, till)
            assert not any(call.done() for call in calls)
            _release(till)
        assert [call.result() for call in calls] == [1] * 8

    asyncio.run(scene())
    assert till.runs == 1


def test_what_runs_goes_on_for_a_caller_that_left_and_comes_back(till: Till, url: str) -> None:
    async def scene() -> None:
        async with Till.at(url) as there:
            call = asyncio.create_task(there.apost("pay_slowly", **keyed("k")))
            await asyncio.to_thread(_wait, till)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            again = asyncio.create_task(there.apost("pay_slowly", **keyed("k")))
            await asyncio.sleep(0.05)
            _release(till)
            assert await again == 1

    asyncio.run(scene())
    assert till.runs == 1


def _wait(till: Till) -> None:
    while not till.begun.is_set():
        pass


def _release(till: Till) -> None:
    till.loop.call_soon_threadsafe(till.release.set)


def test_another_request_with_the_same_key_is_refused(till: Till, url: str) -> None:
    with Till.at(url) as there:
        there.post("pay", amount=1, **keyed("k"))
        with pytest.raises(InvalidArgument, match="another request was sent with this idempotency-key"):
            there.post("pay", amount=2, **keyed("k"))
        with pytest.raises(FailedPrecondition):
            there.post("fail", how="gone", **keyed("k"))  # of another endpoint
    assert till.runs == 2


FAILURES = [
    ("gone", FailedPrecondition, 1),
    ("own", Internal, 1),
    ("cancelled", Internal, 1),
    ("unsendable", Internal, 1),
    ("full", ResourceExhausted, 1),
    ("typed", NotFound, 1),
    ("busy", Unavailable, 2),  # it says itself that it has not begun
]


@pytest.mark.parametrize(("how", "kind", "runs"), FAILURES)
def test_how_a_run_failed_is_kept_and_what_did_not_run_is_not(
    till: Till, http: str, how: str, kind: type[Exception], runs: int
) -> None:
    with Till.at(http, retry=0) as there:
        errors = []
        for _ in range(2):
            with pytest.raises(kind) as caught:
                there.post("fail", how=how, **keyed("k"))
            errors.append(caught.value)
    assert till.runs == runs
    assert errors[0].args == errors[1].args and errors[0].details == errors[1].details  # type: ignore[attr-defined]
    assert how not in ("own", "cancelled") or (errors[0].id == errors[1].id and errors[0].id)  # type: ignore[attr-defined]


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
def test_a_handler_that_would_end_the_program_ends_its_own_call_alone(
    till: Till, http: str, raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    till.raised = raised("secret")
    with Till.at(http) as there:
        for _ in range(2):
            with pytest.raises(Internal):
                there.post("exit", **keyed("k"))
        assert there.post("pay", amount=10) == 12
    assert raised.__name__ in caplog.text


def test_what_expired_before_it_ran_may_come_again(till: Till, http: str) -> None:
    async def calls() -> int:
        async with Till.at(http, retry=0) as there:
            first = asyncio.create_task(there.apost("one_at_a_time"))
            await asyncio.to_thread(_wait, till)
            with pytest.raises(DeadlineExceeded):
                await there.apost("one_at_a_time", timeout=0.2, **keyed("k"))
            _release(till)
            await first
            while True:
                with suppress(DeadlineExceeded):  # of the first attempt, which goes on for the time it had
                    return int(await there.apost("one_at_a_time", **keyed("k")))

    assert asyncio.run(asyncio.wait_for(calls(), SOON)) == 2


def test_what_expired_while_it_waited_for_its_batch_may_come_again(till: Till, url: str) -> None:
    async def calls() -> int:
        async with Till.at(url, retry=0) as there:
            first = asyncio.create_task(there.apost("pay_together", amount=1))
            await asyncio.to_thread(_wait, till)
            with pytest.raises(DeadlineExceeded):
                await there.apost("pay_together", amount=2, timeout=0.2, **keyed("k"))
            await asyncio.sleep(0.3)  # the server, which has got it later, gives it up later
            while waiting()["batch", "till", "pay_together"]:  # noqa: ASYNC110 - nobody tells of this
                await asyncio.sleep(0.01)
            _release(till)
            await first
            while True:
                with suppress(DeadlineExceeded):  # of the first attempt, which goes on for the time it had
                    return int(await there.apost("pay_together", amount=2, **keyed("k")))

    assert asyncio.run(asyncio.wait_for(calls(), SOON)) == 2
    assert till.runs == 2


def test_over_http_it_is_a_header(till: Till, http: str) -> None:
    def asked(amount: int, key: str = "k") -> tuple[int, Any, bytes]:
        headers = {"content-type": "application/json", "Idempotency-Key": key}
        request = urllib.request.Request(f"{http}/till/pay", b'{"amount": %d}' % amount, headers)
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    status, headers, body = asked(1)
    assert (status, headers["idempotent-replayed"], headers["x-run"], body) == (200, None, "1", b"2")
    status, headers, body = asked(1)
    assert (status, headers["idempotent-replayed"], headers["x-run"], body) == (200, "true", "1", b"2")
    assert asked(2)[0] == 422
    assert asked(2, "k" * 256)[0] == 400
    assert asked(2, " ")[0] == 400


def test_contents_that_are_sent_beside_a_call_do_not_have_its_key(till: Till, url: str, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(b"a" * 3_000_000)  # too much to be sent within the call
    with Till.at(url) as there:
        assert [there.post("take", doc=Text(ref=str(path)), **keyed("k")) for _ in range(2)] == [1, 1]


REF = "store:xooai/sha256:" + 64 * "0"
FORM = '--{0}\r\nContent-Disposition: form-data; name="doc"; filename="a"\r\nContent-Type: text/plain\r\n\r\na\r\n--{0}--\r\n'
ALIKE = {
    "grants": ("application/json", f'{{"doc": {{"ref": "{REF}?g={{0}}.aa.bb"}}}}', ("1700000000", "1700000001")),
    "forms": ("multipart/form-data; boundary={0}", FORM, ("----b1", "----b2")),
}


@pytest.mark.parametrize("which", ALIKE)
def test_what_is_made_up_anew_for_each_sending_makes_no_other_request(till: Till, http: str, which: str) -> None:
    kind, body, made_up = ALIKE[which]
    answers = []
    for given in made_up:
        request = urllib.request.Request(
            f"{http}/till/take",
            body.replace("{0}", given).encode(),
            {"content-type": kind.format(given), "idempotency-key": "k"},
        )
        with urllib.request.urlopen(request) as response:
            answers.append(response.read())
    assert answers == [b"1", b"1"]


def test_streams_take_no_key(till: Till, http: str) -> None:
    with Till.at(http) as there, pytest.raises(InvalidArgument, match="this one streams"):
        list(there.stream("many", **keyed("k")))


# In a folder


def test_servers_that_share_a_folder_share_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugins.driver("http")
    monkeypatch.setenv("XOOAI_IDEMPOTENCY", str(tmp_path / "keys"))

    async def scene() -> None:
        with Till() as one, Till() as two:
            urls = [await asyncio.to_thread(till.start, "http://127.0.0.1:0") for till in (one, two)]
            async with Till.at(urls[0][0]) as first, Till.at(urls[1][0]) as second:
                assert await first.apost("pay", amount=1, **keyed("a")) == 2
                assert await second.apost("pay", amount=1, **keyed("a")) == 2
                running = asyncio.create_task(first.apost("pay_slowly", **keyed("b")))
                await asyncio.to_thread(_wait, one)
                waiting = asyncio.create_task(second.apost("pay_slowly", **keyed("b")))
                await asyncio.sleep(0.1)
                _release(one)
                assert await running == await waiting == 2
            assert (one.runs, two.runs) == (2, 0)
            await asyncio.to_thread(one.stop)
            await asyncio.to_thread(two.stop)

    asyncio.run(scene())


def _abandoned(till: Till, url: str, code: list[int]) -> None:
    """Have a call run whose caller has left, and is known to have."""
    left = code[Code.CANCELLED] + 1

    async def scene() -> None:
        async with Till.at(url) as there:
            call = asyncio.create_task(there.apost("pay_slowly", **keyed("k")))
            await asyncio.to_thread(_wait, till)
            call.cancel()
            while code[Code.CANCELLED] < left:  # noqa: ASYNC110 - it is counted in another thread
                await asyncio.sleep(0.002)

    asyncio.run(asyncio.wait_for(scene(), SOON))


def test_a_server_that_stops_lets_calls_end_that_go_on_without_their_callers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugins.driver("http")
    monkeypatch.setenv("XOOAI_IDEMPOTENCY", str(tmp_path / "keys"))
    with Till() as till:
        _abandoned(till, till.start("http://127.0.0.1:0")[0], calls("till", "pay_slowly", "http").codes)
        stopping = Thread(target=till.stop)
        stopping.start()
        stopping.join(0.3)
        assert stopping.is_alive()
        _release(till)
        stopping.join(SOON)
    with Till() as till:
        url = till.start("http://127.0.0.1:0")[0]
        assert Till.at(url).post("pay_slowly", **keyed("k")) == 1
        assert till.runs == 0
    assert "cut off" not in caplog.text


def test_a_call_that_outlives_the_grace_without_its_caller_is_cut_off_and_told(
    till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    plugins.driver("http")
    url = till.start("http://127.0.0.1:0", grace=0.1)[0]
    _abandoned(till, url, calls("till", "pay_slowly", "http").codes)
    till.stop()
    assert "1 call was cut off at the end of the grace of 0.1 seconds" in caplog.text


def test_a_folder_that_cannot_be_used_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugins.driver("http")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XOOAI_IDEMPOTENCY", str(tmp_path / "file"))
    with Till() as till, pytest.raises(FailedPrecondition, match="cannot keep the keys of calls"):
        till.start("http://127.0.0.1:0")


CRASHING = """
import os, sys
from xooai import Executor, post

class Till(Executor):
    @post
    async def pay(self, crash: bool = False) -> int:
        with open("runs", "a") as file:
            file.write("1")
        if crash:
            os._exit(9)
        return 7

with Till() as till:
    print(till.start("http://127.0.0.1:0")[0], flush=True)
    sys.stdin.read()
"""


def test_a_crash_makes_no_call_run_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugins.driver("http")
    monkeypatch.setenv("XOOAI_IDEMPOTENCY", str(tmp_path / "keys"))
    (tmp_path / "till.py").write_text(CRASHING)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}

    def call(url: str, on: str, key: str, **arguments: Any) -> Any:
        with Executor.at(f"{url}/till", retry=0) as there:
            return there.post(on, **arguments, **keyed(key))

    def start() -> Any:
        return subprocess.Popen([sys.executable, "till.py"], **pipes)

    with start() as first:
        url = first.stdout.readline().strip()
        assert call(url, "pay", "done") == 7
        with pytest.raises(ConnectionError):
            call(url, "pay", "lost", crash=True)
    with start() as second:
        url = second.stdout.readline().strip()
        assert call(url, "pay", "done") == 7
        with pytest.raises(AlreadyExists, match="nobody knows whether it was done"):
            call(url, "pay", "lost", crash=True)
        second.stdin.close()
        second.wait()
    assert (tmp_path / "runs").read_text() == "11"


def test_where_an_end_cannot_be_noted_its_caller_has_the_reply_and_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, till: Till
) -> None:
    monkeypatch.setenv("XOOAI_IDEMPOTENCY", str(tmp_path))
    plugins.driver("http")

    async def scene(url: str) -> None:
        async with Till.at(url, retry=0) as there, asyncio.timeout(SOON):
            running = asyncio.create_task(there.apost("pay_slowly", **keyed("a")))
            await asyncio.to_thread(_wait, till)
            data = sqlite3.connect(tmp_path / "calls.sqlite", isolation_level=None)
            data.execute("ALTER TABLE held RENAME TO hidden")  # no note can be made
            _release(till)
            assert await running == 1
            with pytest.raises(Unavailable, match="keys"):
                await there.apost("pay", amount=1, **keyed("b"))
            data.execute("ALTER TABLE hidden RENAME TO held")
            data.close()
            with pytest.raises(AlreadyExists, match="nobody knows"):
                await there.apost("pay_slowly", **keyed("a"))
            assert till.runs == 1
            assert await there.apost("pay", amount=1, **keyed("b")) == 3

    asyncio.run(scene(till.start("http://127.0.0.1:0")[0]))


# What is kept


def place(number: int) -> bytes:
    return b"%032d" % number


def test_what_is_known_is_bounded_in_number() -> None:
    ledger = Ledger(calls=3)
    for number in range(5):
        assert ledger.begin(place(number), b"") is None
        ledger.end(place(number), Ended(0, b"reply"))
    assert [ledger.begin(place(number), b"") is None for number in (4, 3, 2, 1)] == [False, False, False, True]


def test_replies_are_bounded_in_bytes_and_their_calls_stay_known() -> None:
    ledger = Ledger(limit=10_000)
    for number in range(20):
        ledger.begin(place(number), b"")
        ledger.end(place(number), Ended(0, bytes(1_000)))
    kept = [row.ended.is_kept for number in range(20) if (row := ledger.begin(place(number), b"")) and row.ended]
    assert kept == sorted(kept) and 7 <= sum(kept) <= 9 and len(kept) == 20
    ledger.begin(place(20), b"")
    ledger.end(place(20), Ended(0, bytes(5_000)))  # more than its share
    row = ledger.begin(place(20), b"")
    assert row is not None and row.ended is not None and not row.ended.is_kept


def test_a_full_disk_is_told_and_undoes_what_was_half_written(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.begin(place(1), b"")
    ledger._data.execute("PRAGMA max_page_count = 1")  # of the pages that there are: no more
    with pytest.raises(sqlite3.Error, match="full"):
        ledger.end(place(1), Ended(0, bytes(1_000_000)))
    ledger._data.execute("PRAGMA max_page_count = 100000")
    ledger.end(place(1), Ended(0, bytes(1_000)))
    row = ledger.begin(place(1), b"")
    assert row is not None and row.ended is not None and row.ended.is_kept
    ledger.close()


def test_a_reply_more_takes_no_look_at_all_that_are_forgotten() -> None:
    ledger = Ledger(limit=100_000)
    for number in range(3_000):
        ledger.begin(place(number), b"")
        ledger.end(place(number), Ended(0, bytes(1_000)))
    looked = 0

    def look() -> int:
        nonlocal looked
        looked += 1
        return 0

    ledger.begin(place(3_000), b"")
    ledger._data.set_progress_handler(look, 1)  # with each instruction of the database
    ledger.end(place(3_000), Ended(0, bytes(1_000)))
    assert 0 < looked < 3_000


def test_what_a_process_did_not_end_is_known_once_it_is_gone(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path)), Ledger(str(tmp_path))
    one.begin(place(1), b"")
    row = two.begin(place(1), b"")
    assert row is not None and row.owner == one.owner and row.ended is None and two.is_alive(row.owner)
    one.close()
    assert not two.is_alive(row.owner)
    assert two.begin(place(1), b"") == row
    assert two.begin(place(1), b"", row.owner) is None  # of a call that may run twice
    three = Ledger(str(tmp_path))
    row = three.begin(place(1), b"", one.owner)
    assert row is not None and row.owner == two.owner  # but once
    three.close()
    two.close()


def test_a_key_is_known_for_its_time() -> None:
    ledger = Ledger(ttl=0.0)
    assert [ledger.begin(place(1), b"") for _ in range(2)] == [None, None]


def test_what_is_kept_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.begin(b"a", b"1")
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    ledger.close()
    assert len(modes) >= 2 and not any(modes.values()), modes
