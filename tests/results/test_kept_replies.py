"""Replies that are kept: who gets them, for how long, in which form, and what is never kept."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import pytest
from answering import Answering, Page, ask, noting, site_of
from pydantic import BeforeValidator

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import (
    DeadlineExceeded,
    Executor,
    File,
    Image,
    Internal,
    InvalidArgument,
    NotFound,
    Text,
    post,
    stream,
)
from xooai.cache import upkeep
from xooai.content import MemoryContent
from xooai.results import Results
from xooai.results.shelf import Kept

__all__ = ["poller"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PATIENCE = 20.0  # seconds: what waits longer fails its test instead of stopping the run
LARGE = 400 * 1024  # bytes: more than goes inline


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answering]:
    with Answering(tmp_path) as executor:
        yield executor


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=["in process", "http", "grpc", "quic", "memory"])
def url(request: pytest.FixtureRequest, answering: Answering, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Where it is served; None where it is called in its process."""
    scheme = str(request.param)
    return None if scheme == "in process" else served(answering, scheme, request, monkeypatch)


@pytest.fixture
def client(url: str | None, answering: Answering) -> Iterator[Any]:
    """Whoever calls it: the executor itself, or a client over a driver."""
    if url is None:
        yield answering
        return
    with Answering.at(url) as client:
        yield client


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(scene: Callable[[], Any]) -> None:
    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scene()

    asyncio.run(patiently())


# Who is given a kept reply


def test_the_same_call_runs_its_handler_once(client: Any, answering: Answering, codec: str) -> None:
    replies = [client.post(on="loud", codec=codec, doc=Text(value="hello")) for _ in range(3)]

    assert replies == [Text(value="HELLO!")] * 3
    assert answering.runs == ["hello"]


def test_other_arguments_are_another_call(client: Any, answering: Answering) -> None:
    given = [{"mark": "!"}, {"mark": "?"}, {"mark": ""}]
    replies = [client.post(on="loud", doc=Text(value="hello"), **more).value for more in given]

    assert replies == ["HELLO!", "HELLO?", "HELLO"]
    assert client.post(on="loud", doc=Text(value="hello", media_type="text/html")).value == "HELLO!"
    assert len(answering.runs) == 4


def test_a_default_that_is_given_is_the_same_as_none(client: Any, answering: Answering) -> None:
    for more in ({}, {"mark": "!"}):
        assert client.post(on="loud", doc=Text(value="hello"), **more).value == "HELLO!"
    assert len(answering.runs) == 1


def test_a_call_in_another_codec_is_the_same_call(client: Any, answering: Answering) -> None:
    page = Page(scan=Image(value=PNG), texts=[Text(value="a")])

    replies = [client.post(on="page", page=page, codec=codec) for codec in ("json", "msgpack", "json", "msgpack")]

    assert replies == [page] * 4
    assert len(answering.runs) == 1


def test_a_direct_call_is_plain_python(answering: Answering) -> None:
    for _ in range(2):
        answering.loud(Text(value="a"))

    assert answering.runs == ["a", "a"]


def test_a_body_of_one_medium_is_the_same_argument(answering: Answering) -> None:
    async def scene() -> None:
        site = site_of(answering)
        body = json.dumps({"doc": {"value": "aGVsbG8="}}).encode()
        first = await ask(site, "size", body)
        again = await ask(site, "size", b'{ "doc": {"kind": "file", "value": "aGVsbG8="}}')

        assert (first.frame, first.is_kept) == (b"5", False)
        assert (again.frame, again.is_kept) == (b"5", True)

    run(scene)


def test_an_endpoint_that_overrides_keeps_as_the_one_before() -> None:
    class Louder(Answering):
        def loud(self, doc: Text, mark: str = "!") -> Text:
            return super().loud(doc, mark * 2)

    with Louder() as louder:
        assert [louder.post(on="loud", doc=Text(value="a")).value for _ in range(2)] == ["A!!"] * 2
        assert len(louder.runs) == 1


def test_the_age_of_a_kept_reply_is_told_beside_it(url: str | None) -> None:
    found: list[dict[str, str]] = []
    with (
        Answering(layers=[noting(found)])
        if url is None
        else Executor(f"{url}/answering", layers=[noting(found)]) as who
    ):
        for _ in range(2):
            assert who.post(on="noted", x=1) == 1

    first, again = found[-2:]
    assert first["x-model"] == again["x-model"] == "v1"
    assert "xooai-cached" not in first
    assert again["xooai-cached"] == "0"


def test_a_caller_with_another_identity_is_given_nothing_of_it(answering: Answering) -> None:
    async def scene() -> None:
        site = site_of(answering)
        for identity, is_kept in (("a", False), ("b", False), ("", False), ("a", True), ("b", True), ("", True)):
            assert (await ask(site, "noted", b'{"x":1}', identity=identity)).is_kept is is_kept

    run(scene)


def test_what_a_caller_does_to_its_reply_changes_no_other(answering: Answering) -> None:
    names = ["a"]
    first = answering.post(on="mutable", names=names)
    first["names"].append("b")
    answering.last["names"].append("c")
    names.append("d")

    assert answering.post(on="mutable", names=["a"]) == {"names": ["a"]}
    assert len(answering.runs) == 1


# What is kept, and for how long


def test_a_reply_is_kept_for_its_time(client: Any, answering: Answering) -> None:
    client.post(on="shortly", x=1)
    began = time.monotonic()
    while len(answering.runs) == 1:
        assert time.monotonic() < began + PATIENCE
        client.post(on="shortly", x=1)

    assert time.monotonic() - began > 0.1


def test_an_error_is_not_kept(client: Any, answering: Answering) -> None:
    answering.fails = True
    for _ in range(2):
        with pytest.raises(NotFound, match="not yet"):
            client.post(on="failing", x=1)
    answering.fails = False

    assert [client.post(on="failing", x=1) for _ in range(2)] == [1, 1]
    assert len(answering.runs) == 3


def test_a_reply_with_a_file_of_this_machine_is_not_kept_within_the_process(
    answering: Answering, tmp_path: Path
) -> None:
    for content in (b"one", b"two"):
        (tmp_path / "a").write_bytes(content)
        assert answering.post(on="file", name="a").read() == content
    assert len(answering.runs) == 2


def test_a_file_of_a_reply_is_kept_as_it_went_to_a_peer(answering: Answering, tmp_path: Path) -> None:
    (url,) = answering.start("http://127.0.0.1:0")
    (tmp_path / "a").write_bytes(b"one")
    with Answering.at(url) as client:
        first = client.post(on="file", name="a")
        (tmp_path / "a").unlink()

        assert client.post(on="file", name="a") == first
        assert first.read() == b"one"
        with pytest.raises(Internal):  # there is nothing to write another form from, and the file is gone
            client.post(on="file", name="a", codec="json")
    assert len(answering.runs) == 2


def test_what_is_kept_is_bounded_in_bytes_and_what_was_not_asked_for_goes_first() -> None:
    results = Results(100_000)
    keys = [bytes([number]) for number in range(20)]
    for key in keys:
        kept = Kept(0, float("inf"), {})
        kept.size = 10_000
        results.put(key, kept)
        results.get(keys[0])

    assert [key[0] for key in keys if results.get(key)] == [0, *range(11, 20)]
    assert (len(results), results.size) == (10, 100_000)


def test_a_reply_that_is_too_large_pushes_out_no_others(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_RESULTS_LIMIT", "1MiB")
    answering.post(on="loud", doc=Text(value="a"))
    for _ in range(2):
        assert answering.post(on="bulk", x=1, size=200_000) == bytes(200_000)
    answering.post(on="loud", doc=Text(value="a"))

    assert answering.runs == ["a", 1, 1]


def test_a_limit_of_nothing_keeps_nothing(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_RESULTS_LIMIT", "0")
    for _ in range(2):
        answering.post(on="loud", doc=Text(value="a"))

    assert answering.runs == ["a", "a"]


def test_a_limit_that_is_none_is_told(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_RESULTS_LIMIT", "much")
    with pytest.raises(InvalidArgument, match="XOOAI_RESULTS_LIMIT is 'much'"):
        answering.post(on="loud", doc=Text(value="a"))


def test_replies_are_kept_by_one_server_and_not_by_the_next(tmp_path: Path) -> None:
    answering = Answering(tmp_path)
    for _ in range(2):
        with answering:
            (url,) = answering.start("http://127.0.0.1:0")
            with Answering.at(url) as client:
                client.post(on="loud", doc=Text(value="a"))

    assert answering.runs == ["a", "a"]


# Contents elsewhere


def test_a_large_content_is_the_same_argument_each_time_it_is_sent(answering: Answering, tmp_path: Path) -> None:
    """It is told by its signature: nothing is fetched, and the document that comes back can be read."""
    (tmp_path / "big").write_bytes(b"x" * LARGE)
    (url,) = answering.start("http://127.0.0.1:0")
    with Answering.at(url) as client:
        replies = [client.post(on="whole", doc=File(ref=str(tmp_path / "big"))) for _ in range(3)]

        assert [reply.read() for reply in replies] == [b"x" * LARGE] * 3
    assert len(answering.runs) == 1


def test_who_only_knows_a_signature_is_given_nothing(answering: Answering) -> None:
    """Neither the reply to another caller's content, nor that it was made."""

    async def scene() -> None:
        site = site_of(answering)
        content = MemoryContent(b"secret" * LARGE)
        ref = await site.contents.keeper.put("owner", content)
        granted, named, forged = (
            json.dumps({"doc": {"ref": text}}).encode()
            for text in (ref, ref.partition("?")[0], f"{ref.partition('.')[0]}.{'0' * 64}")
        )

        assert (await ask(site, "size", granted, identity="owner")).frame == b"%d" % content.size
        assert (await ask(site, "size", granted, identity="owner")).is_kept
        for identity, stolen in (("thief", named), ("thief", granted), ("", granted), ("owner", forged)):
            with pytest.raises(NotFound):
                await ask(site, "size", stolen, identity=identity)
        await site.contents.aclose()

    run(scene)


def test_a_reply_whose_content_has_vanished_is_made_anew(
    answering: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a").write_bytes(b"x" * LARGE)
    (url,) = answering.start("http://127.0.0.1:0")
    with Answering.at(url) as client:
        for _ in range(2):
            assert client.post(on="file", name="a").ref.startswith("store:xooai/")
        assert len(answering.runs) == 1
        upkeep.clear()

        assert client.post(on="file", name="a").read() == b"x" * LARGE
    assert len(answering.runs) == 2


def test_a_reply_in_a_store_of_the_operators_that_has_vanished_is_made_anew(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with Answering(tmp_path, store=f"kept=file://{kept}") as answering:
        (tmp_path / "a").write_bytes(b"x" * LARGE)
        (url,) = answering.start("http://127.0.0.1:0")
        with Answering.at(url) as client:
            for _ in range(2):
                assert client.post(on="file", name="a").ref.startswith("store:kept/")
            assert len(answering.runs) == 1
            for path in kept.rglob("*"):
                if path.is_file() and path.stat().st_size == LARGE:
                    path.unlink()
            client.post(on="file", name="a")
        assert len(answering.runs) == 2


def test_a_ref_that_no_store_stands_behind_is_not_kept(answering: Answering, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    for content in (b"one", b"three"):
        (tmp_path / "a").write_bytes(content)
        assert answering.post(on="size", doc=File(ref=str(tmp_path / "a"))) == len(content)


class Opaque:
    """What nobody knows how to compare."""


def test_the_log_tells_once_of_arguments_that_cannot_be_told_from_others(caplog: pytest.LogCaptureFixture) -> None:
    class Asking(Executor):
        runs = 0

        @post(cache=60)
        def ask(self, x: Annotated[Any, BeforeValidator(lambda _: Opaque())]) -> int:
            self.runs += 1
            return self.runs

    with Asking() as asking:
        assert [asking.post(on="ask", x=1) for _ in range(3)] == [1, 2, 3]
    (told,) = [record.message for record in caplog.records if "not all kept" in record.message]
    assert "asking/ask" in told
    assert "Opaque" in told


# Side by side


def test_calls_side_by_side_in_different_forms_run_the_handler_once(answering: Answering) -> None:
    async def scene() -> None:
        site = site_of(answering)
        forms = [("json", ""), ("msgpack", ""), ("json", "application/msgpack"), ("msgpack", "application/json")]
        bodies = {"json": b'{"x":7}', "msgpack": b"\x81\xa1x\x07"}
        calls = [
            asyncio.create_task(ask(site, "held", bodies[codec], codec=codec, accept=accept)) for codec, accept in forms
        ]
        await asyncio.to_thread(answering.started.acquire)
        answering.gate.set()

        assert [(await call).frame for call in calls] == [b"7", b"\x07", b"\x07", b"7"]
        assert answering.runs == [7]

    run(scene)


def test_a_reply_that_is_one_medium_is_kept_as_it_is(answering: Answering) -> None:
    async def scene() -> None:
        site = site_of(answering)
        body = json.dumps({"doc": {"value": "hello"}}).encode()
        for is_kept in (False, True):
            answer = await ask(site, "loud", body, accept="text/plain")
            assert (answer.frame, answer.outcome.codec) == (b"HELLO!", "text/plain; charset=utf-8")
            assert answer.is_kept is is_kept
        assert json.loads((await ask(site, "loud", body)).frame)["value"] == "HELLO!"
        assert answering.runs == ["hello"]

    run(scene)


@pytest.mark.parametrize("on", ["slow", "held"])
def test_calls_side_by_side_run_the_handler_once(answering: Answering, on: str) -> None:
    async def scene() -> None:
        calls = [asyncio.create_task(answering.apost(on=on, x=7)) for _ in range(50)]
        await asyncio.to_thread(answering.started.acquire)
        answering.gate.set()

        assert await asyncio.gather(*calls) == [7] * 50
        assert answering.runs == [7]

    run(scene)


def test_calls_of_many_threads_run_the_handler_once(answering: Answering) -> None:
    answering.post(
        on="failing", x=1
    )  # whoever has the executor set up is called on a loop, and no thread waits for that
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(answering.post, on="slow", x=7) for _ in range(8)]
        assert answering.started.acquire(timeout=PATIENCE)
        answering.gate.set()

        assert [call.result(PATIENCE) for call in calls] == [7] * 8
    assert answering.runs == [1, 7]


def test_many_threads_share_little_room_and_are_given_right_answers(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOOAI_RESULTS_LIMIT", "32KiB")

    def ask_many(seed: int) -> bool:
        chance = random.Random(seed)
        numbers = [chance.randrange(60) for _ in range(200)]
        return all(answering.post(on="failing", x=number) == number for number in numbers)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask_many, range(8)))
    assert 60 < len(answering.runs) < 1600


def test_the_others_go_on_where_the_first_caller_leaves(answering: Answering) -> None:
    async def scene() -> None:
        first = asyncio.create_task(answering.apost(on="held", x=7))
        await asyncio.to_thread(answering.started.acquire)
        others = [asyncio.create_task(answering.apost(on="held", x=7)) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        others[0].cancel()
        await asyncio.to_thread(answering.started.acquire)
        answering.gate.set()

        assert await asyncio.gather(*others[1:]) == [7] * 4
        assert answering.runs == [7, 7]
        assert first.cancelled()

    run(scene)


def test_the_time_limit_of_the_first_caller_is_not_that_of_the_others(answering: Answering) -> None:
    async def scene() -> None:
        first = asyncio.create_task(answering.apost(on="held", x=7, timeout=0.1))
        await asyncio.to_thread(answering.started.acquire)
        other = asyncio.create_task(answering.apost(on="held", x=7))
        with pytest.raises(DeadlineExceeded):
            await first
        await asyncio.to_thread(answering.started.acquire)
        answering.gate.set()

        assert await other == 7

    run(scene)


def test_a_waiting_call_keeps_its_own_time_limit(answering: Answering) -> None:
    async def scene() -> None:
        first = asyncio.create_task(answering.apost(on="held", x=7))
        await asyncio.to_thread(answering.started.acquire)
        with pytest.raises(DeadlineExceeded):
            await answering.apost(on="held", x=7, timeout=0.05)
        answering.gate.set()

        assert await first == 7
        assert answering.runs == [7]

    run(scene)


def test_where_the_first_call_fails_the_others_have_their_own_try_all_at_once(answering: Answering) -> None:
    async def scene() -> None:
        calls = [asyncio.create_task(answering.apost(on="meeting", x=7)) for _ in range(4)]
        await asyncio.to_thread(answering.started.acquire)
        answering.gate.set()

        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(reply) for reply in found] == [NotFound, int, int, int]
        assert len(answering.runs) == 4

    run(scene)


def test_a_failing_call_shares_no_error(answering: Answering) -> None:
    async def scene() -> None:
        answering.fails = True
        calls = [asyncio.create_task(answering.apost(on="slow", x=7)) for _ in range(3)]
        await asyncio.to_thread(answering.started.acquire)
        answering.gate.set()

        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in found] == [NotFound] * 3
        assert len({id(error) for error in found}) == 3

    run(scene)


def test_a_handler_that_calls_itself_does_not_wait_for_itself(answering: Answering) -> None:
    async def scene() -> None:
        assert await answering.apost(on="itself", x=1) == 2

    run(scene)


def test_a_blocking_call_does_not_wait_for_one_that_needs_a_thread(answering: Answering) -> None:
    """It could be the thread that the other one needs."""

    async def scene() -> None:
        first = asyncio.create_task(answering.apost(on="slow", x=7))
        await asyncio.to_thread(answering.started.acquire)
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(answering.post(on="slow", x=7)))
        thread.start()
        await asyncio.to_thread(answering.started.acquire)  # it runs, beside the first
        answering.gate.set()
        await first
        await asyncio.to_thread(thread.join)

        assert found == [7]

    run(scene)


# What is an error when the class is made


@pytest.mark.parametrize("given", ["soon", "10", "-1m", "0s", "", True, 0, -1, float("nan"), float("inf"), [], 10**400])
def test_a_time_that_is_none_is_an_error_when_the_class_is_made(given: Any) -> None:
    with pytest.raises(TypeError, match=r"Wrong\.f: cache=.* is no length of time.*'10m'"):

        class Wrong(Executor):
            @post(cache=given)
            def f(self, x: int) -> int:
                return x


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2 d", 172800), (0.5, 0.5), (30, 30)]
)
def test_a_time_is_a_number_of_seconds_or_a_text(given: Any, seconds: float) -> None:
    class Right(Executor):
        @post(cache=given)
        def f(self, x: int) -> int:
            return x

    assert Right._xooai_declared.endpoints["f"].cache == seconds


def test_an_endpoint_that_streams_keeps_nothing() -> None:
    with pytest.raises(TypeError, match="the replies of an endpoint that streams are not kept"):

        class Streaming(Executor):
            @stream(cache="10m")  # type: ignore[call-overload, untyped-decorator]
            def f(self, x: int) -> Iterator[int]:
                yield x
