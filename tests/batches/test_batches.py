"""Calls that are answered together: who is in a batch, when it leaves, and that each caller gets what is his."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noted_batches import PATIENCE, Noting, scene

from xooai import DeadlineExceeded, Executor, Internal, InvalidArgument, NotFound, ResourceExhausted, Text, post
from xooai.batch.cost import Cost

# One, and many


def test_a_caller_gives_one_item_and_gets_one_reply(client: Any, noting: Noting) -> None:
    assert client.post(on="loud", doc=Text(value="hello")).read() == "HELLO!"
    assert client.post(on="loud", codec="json", doc=Text(value="you"), mark="?").read() == "YOU?"
    assert noting.batches == [["hello"], ["you"]]


def test_a_list_is_answered_by_a_list_in_its_order(client: Any, noting: Noting) -> None:
    texts = [Text(value=f"t{index}") for index in range(11)]

    for codec in ("json", "msgpack"):
        replies = client.post(on="loud", codec=codec, doc=texts)

        assert [text.read() for text in replies] == [f"T{index}!" for index in range(11)]
    assert client.post(on="loud", doc=[]) == []
    assert all(len(batch) <= 4 for batch in noting.batches)
    assert len(noting.batches) < 22


def test_a_typed_call_is_as_the_method_is_written(client: Any, noting: Noting) -> None:
    assert [text.read() for text in client.loud(doc=[Text(value="a"), Text(value="b")], mark="?")] == ["A?", "B?"]
    assert [text.read() for text in noting.loud([Text(value="c")])] == ["C!"]


def told(function: Any) -> Any:
    """A decorator that keeps nothing of what it was given, not its name either."""

    async def told(self: Any, x: list[int]) -> list[int]:
        found: list[int] = await function(self, x)
        return found

    return told


class Decorated(Executor):
    @post(batch_size=4)
    @told
    async def plus(self, x: list[int]) -> list[int]:
        return [one + 1 for one in x]

    @post(batch_size=4)
    @told
    async def times(self, x: list[int]) -> list[int]:
        return [one * 10 for one in x]


def test_methods_whose_functions_have_one_name_have_batches_of_their_own() -> None:
    async def play() -> None:
        with Decorated() as here:
            calls = (here.apost(on=name, x=5) for name in ("plus", "times") * 3)
            assert await asyncio.gather(*calls) == [6, 50] * 3

    scene(play)


def test_who_knows_the_description_only_calls_alike(noting: Noting) -> None:
    (url,) = noting.start("memory://noted")
    with Executor(f"{url}/noting") as client:
        assert client.post(on="loud", doc=Text(value="a")).read() == "A!"
        assert [text.read() for text in client.post(on="loud", doc=[Text(value="a"), Text(value="b")])] == ["A!", "B!"]
        assert client.post(on="picky", x=[1, 2]) == [1, 2]


def test_calls_side_by_side_share_batches(client: Any, noting: Noting) -> None:
    async def play() -> None:
        calls = [asyncio.create_task(client.apost(on="held", x=x)) for x in range(9)]
        await asyncio.to_thread(noting.started.acquire)
        await asyncio.sleep(0.2)  # for the others to come
        noting.gate.set()
        assert await asyncio.gather(*calls) == list(range(9))

    scene(play)
    assert sorted(x for batch in noting.batches for x in batch) == list(range(9))
    assert len(noting.batches) < 9


def test_blocking_calls_of_many_threads_share_batches(noting: Noting) -> None:
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(noting.post, on="doubled", x=x) for x in range(4)]
        assert [call.result(PATIENCE) for call in calls] == [0, 2, 4, 6]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=5), st.sampled_from(["!", "?"])), max_size=20))
def test_batched_and_alone_the_replies_are_the_same(calls: list[tuple[str, str]]) -> None:
    with Noting() as noting:

        async def play() -> None:
            together = await asyncio.gather(
                *(noting.apost(on="loud", doc=Text(value=value), mark=mark) for value, mark in calls)
            )
            assert [text.read() for text in together] == [
                noting.loud([Text(value=value)], mark)[0].read() for value, mark in calls
            ]

        scene(play)


# When a batch leaves


def test_a_batch_leaves_when_it_is_full(noting: Noting) -> None:
    async def play() -> None:
        assert await asyncio.gather(*(noting.apost(on="doubled", x=x) for x in range(4))) == [0, 2, 4, 6]

    scene(play)
    assert noting.batches == [[0, 1, 2, 3]]


def test_an_item_that_is_alone_does_not_wait(noting: Noting) -> None:
    began = time.monotonic()
    assert [noting.post(on="doubled", x=x) for x in range(5)] == [0, 2, 4, 6, 8]
    assert time.monotonic() - began < 30
    assert noting.batches == [[x] for x in range(5)]


def test_what_comes_while_a_batch_runs_leaves_when_it_ends(noting: Noting) -> None:
    async def play() -> None:
        first = asyncio.create_task(noting.apost(on="held", x=0))
        await asyncio.to_thread(noting.started.acquire)
        others = [asyncio.create_task(noting.apost(on="held", x=x)) for x in (1, 2, 3)]
        await asyncio.sleep(0.1)
        assert noting.batches == [[0]]
        noting.gate.set()
        assert await asyncio.gather(first, *others) == [0, 1, 2, 3]

    scene(play)
    assert noting.batches == [[0], [1, 2, 3]]


def test_batches_run_side_by_side_where_that_is_asked_for(noting: Noting) -> None:
    async def play() -> None:
        calls = [asyncio.create_task(noting.apost(on="beside", x=x)) for x in range(8)]
        for _ in range(2):
            await asyncio.to_thread(noting.started.acquire)
        await asyncio.sleep(0.05)
        assert len(noting.batches) == 2
        noting.gate.set()
        assert await asyncio.gather(*calls) == list(range(8))

    scene(play)
    assert noting.most == 2


def test_items_count_what_they_weigh(noting: Noting) -> None:
    async def play() -> None:
        assert await noting.apost(on="weighed", x=[6, 5, 4, 1, 99, 3, 7]) == [6, 5, 4, 1, 99, 3, 7]

    scene(play)
    assert [sum(batch) for batch in noting.batches] == [6, 10, 99, 10]


def test_batches_are_kept_as_small_as_the_target_asks() -> None:
    class Slow(Executor):
        sizes: list[int] = []

        @post(batch_size=64, batch_wait=0.01, batch_target=0.1)
        async def run(self, x: list[int]) -> list[int]:
            self.sizes.append(len(x))
            await asyncio.sleep(0.005 * len(x))
            return x

    async def play() -> None:
        with Slow() as slow:
            for size in (1, 3, 6):
                await asyncio.gather(*(slow.apost(x=x) for x in range(size)))
            Slow.sizes.clear()
            await asyncio.gather(*(slow.apost(x=x) for x in range(64)))

    scene(play)
    assert max(Slow.sizes) < 32  # 10 on a quiet machine


def test_what_a_batch_costs_is_learnt() -> None:
    cost = Cost()
    for weight in (1, 8, 32, 4, 16, 2) * 5:
        cost.took(weight, 0.005 + 0.0002 * weight)

    assert cost.line() == pytest.approx((0.005, 0.0002))
    assert cost.weight_within(0.0114) == pytest.approx(32)


# What is each caller's own


def test_calls_with_other_parameters_are_in_other_batches(noting: Noting) -> None:
    async def play() -> None:
        first = asyncio.create_task(noting.apost(on="held", x=100))
        await asyncio.to_thread(noting.started.acquire)
        calls = [asyncio.create_task(noting.apost(on="held", x=x, by=1 + x % 2)) for x in range(8)]
        await asyncio.sleep(0.05)
        noting.gate.set()
        assert await asyncio.gather(first, *calls) == [100, *(x * (1 + x % 2) for x in range(8))]

    scene(play)
    assert sorted(map(sorted, noting.batches)) == [[0, 2, 4, 6], [1, 3, 5, 7], [100]]


def test_a_batch_is_told_nothing_of_a_single_caller(noting: Noting) -> None:
    assert noting.post(on="told", x=1, metadata={"x-name": "somebody"}) == "{} None "


def test_a_batch_has_the_time_of_the_one_who_has_most(noting: Noting) -> None:
    async def play() -> None:
        calls = [noting.apost(on="nested", x=index, timeout=30.0 * (1 + index)) for index in range(4)]
        assert all(110 < left <= 120 for left in await asyncio.gather(*calls))
        assert await noting.apost(on="nested", x=1) is None

    scene(play)


# What goes wrong


def test_an_item_fails_alone_where_the_batch_gives_an_exception_for_it(client: Any) -> None:
    async def play() -> None:
        replies = await asyncio.gather(*(client.apost(on="picky", x=x) for x in (1, -2, 13, 4)), return_exceptions=True)
        assert [replies[0], replies[3]] == [1, 4]
        assert isinstance(replies[1], NotFound)
        assert replies[1].message == "no -2"
        assert isinstance(replies[2], Internal)
        assert "secret" not in str(replies[2])

    scene(play)


def test_a_list_with_an_item_that_fails_says_which(client: Any) -> None:
    with pytest.raises(NotFound, match=r"^item 2 of 4: no -7"):
        client.post(on="picky", x=[1, 2, -7, 4])


def test_a_batch_that_fails_is_run_in_halves_where_that_is_safe(noting: Noting) -> None:
    async def play() -> None:
        calls = (noting.apost(on="splitting", x=x) for x in (1, 2, 13, 4, 5, 6, 7, 8))
        replies = await asyncio.gather(*calls, return_exceptions=True)
        assert [reply if isinstance(reply, int) else type(reply) for reply in replies] == [
            1,
            2,
            NotFound,
            4,
            5,
            6,
            7,
            8,
        ]

    scene(play)
    assert noting.batches == [[1, 2, 13, 4, 5, 6, 7, 8], [1, 2, 13, 4], [1, 2], [13, 4], [13], [4], [5, 6, 7, 8]]


def test_a_batch_that_fails_is_run_once_otherwise(noting: Noting) -> None:
    async def play() -> None:
        replies = await asyncio.gather(*(noting.apost(on="failing", x=x) for x in range(3)), return_exceptions=True)
        assert [(type(reply), reply.message) for reply in replies] == [(NotFound, "nothing here")] * 3  # type: ignore[union-attr]
        assert len({id(reply) for reply in replies}) == 3

    scene(play)
    assert len(noting.batches) == 1


def test_a_reply_too_few_is_the_servers_mistake(client: Any) -> None:
    with pytest.raises(Internal):
        client.post(on="short", x=1)


def test_a_reply_of_another_type_fails_alone(client: Any) -> None:
    async def play() -> None:
        replies = await asyncio.gather(*(client.apost(on="wrong", x=x) for x in (1, 0, 2)), return_exceptions=True)
        assert [reply if isinstance(reply, int) else type(reply) for reply in replies] == [1, Internal, 2]

    scene(play)


def test_who_gives_what_the_item_is_not_is_told(client: Any) -> None:
    with pytest.raises(InvalidArgument):
        client.post(on="doubled", x="many")
    with pytest.raises(InvalidArgument):
        client.post(on="doubled", x=[1, "many"])


def test_a_peers_local_ref_is_not_opened_for_a_batch(noting: Noting, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (url,) = noting.start("http://127.0.0.1:0")
    for doc in ({"ref": str(secret)}, [{"value": "a"}, {"ref": str(secret)}]):
        request = Request(f"{url}/noting/loud", json.dumps({"doc": doc}).encode(), {"Content-Type": "application/json"})
        with pytest.raises(HTTPError) as error:
            urlopen(request, timeout=PATIENCE)
        with error.value as reply:
            assert reply.code == 403
    assert noting.post(on="loud", doc=Text(ref=str(secret))).read() == "SECRET!"


# Who leaves


def test_items_whose_callers_have_left_are_not_run(client: Any, noting: Noting) -> None:
    async def play() -> None:
        first = asyncio.create_task(client.apost(on="waiting", x=0))
        await asyncio.to_thread(noting.started.acquire)
        others = [asyncio.create_task(client.apost(on="waiting", x=x)) for x in (1, 2, 3)]
        with pytest.raises(DeadlineExceeded):
            await client.apost(on="waiting", x=4, timeout=0.3)
        others[1].cancel()
        await asyncio.wait([others[1]])
        await asyncio.sleep(0.2)  # over a wire it takes a while to be heard
        noting.gate.set()
        assert [await call for call in (first, others[0], others[2])] == [0, 1, 3]

    scene(play)
    assert list(map(sorted, noting.batches)) == [[0], [1, 3]]


def test_a_batch_for_which_nobody_waits_is_cancelled(client: Any, noting: Noting) -> None:
    async def play() -> None:
        call = asyncio.create_task(client.apost(on="waiting", x=[1, 2]))
        await asyncio.to_thread(noting.started.acquire)
        call.cancel()
        assert await asyncio.to_thread(noting.started.acquire, timeout=PATIENCE)
        noting.gate.set()

    scene(play)
    assert noting.batches == [[1, 2], "cancelled"]


def test_a_method_that_calls_itself_does_not_wait_for_itself(noting: Noting) -> None:
    async def play() -> None:
        assert await asyncio.gather(*(noting.apost(on="itself", x=x) for x in range(4))) == [0, 1, 2, 3]

    scene(play)


def test_only_so_many_items_wait(noting: Noting) -> None:
    async def play() -> None:
        calls = [asyncio.create_task(noting.apost(on="held", x=x)) for x in range(1100)]
        await asyncio.to_thread(noting.started.acquire)
        noting.gate.set()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        refused = [reply for reply in replies if isinstance(reply, ResourceExhausted)]
        assert len(refused) in range(60, 77)
        assert all(1 <= (error.retry_after or 0) <= 30 for error in refused)
        assert len([reply for reply in replies if isinstance(reply, int)]) == 1100 - len(refused)

    scene(play)


# Beside other things


def test_replies_of_batches_are_kept(client: Any, noting: Noting) -> None:
    assert [client.post(on="kept", doc=Text(value="hello")) for _ in range(3)] == [5, 5, 5]
    assert noting.batches == [["hello"]]
    assert client.post(on="kept", doc=[Text(value="hello"), Text(value="you")]) == [5, 3]
    assert client.post(on="kept", doc=[Text(value="hello"), Text(value="you")]) == [5, 3]
    assert len(noting.batches) == 2


def test_each_loop_has_batches_of_its_own(noting: Noting) -> None:
    async def play() -> None:
        assert await asyncio.gather(*(noting.apost(on="doubled", x=x) for x in range(4))) == [0, 2, 4, 6]

    threads = [threading.Thread(target=scene, args=(play,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, noting.batches)) == [4, 4, 4]


def test_openapi_tells_of_one_and_of_many(noting: Noting) -> None:
    operation = json.loads(noting._xooai_local()._hosting().describe("openapi"))["paths"]["/noting/picky"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["x"]
    given = operation["responses"]["200"]["content"]["application/json"]["schema"]

    assert [asked["anyOf"][0]["type"], asked["anyOf"][1]["items"]["type"]] == ["integer", "integer"]
    assert [given["anyOf"][0]["type"], given["anyOf"][1]["items"]["type"]] == ["integer", "integer"]


# What is an error when the class is made


def endpoint(annotations: dict[str, Any], **options: Any) -> None:
    def run(self: Any, x: Any) -> Any: ...

    run.__annotations__ = annotations
    type("Made", (Executor,), {"run": post(**options)(run)})


INTS = {"x": list[int], "return": list[int]}


@pytest.mark.parametrize(
    ("annotations", "options", "said"),
    [
        ({"x": int, "return": list[int]}, {"batch_size": 2}, "the first parameter takes a batch: x: list[T]"),
        ({"x": list[list[int]], "return": list[int]}, {"batch_size": 2}, "may be a list itself"),
        ({"x": list[int | tuple[int, ...]], "return": list[int]}, {"batch_size": 2}, "may be a list itself"),
        ({"x": list[Any], "return": list[int]}, {"batch_size": 2}, "may be a list itself"),
        ({"x": list[int], "return": int}, {"batch_size": 2}, "-> list"),
        ({"x": list[int], "return": list[ValueError]}, {"batch_size": 2}, "exceptions only"),
        (INTS, {"batch_size": 0}, "batch_size=0 is no number of items"),
        (INTS, {"batch_size": True}, "batch_size=True is no number of items"),
        (INTS, {"batch_size": 2, "batch_wait": -1}, "batch_wait=-1 is no number of seconds"),
        (INTS, {"batch_size": 2, "batch_wait": float("nan")}, "batch_wait=nan is no number of seconds"),
        (INTS, {"batch_size": 2, "batch_target": 0}, "batch_target=0 is no number of seconds"),
        (
            INTS,
            {"batch_size": 2, "batch_wait": 1, "batch_target": 0.5},
            "batch_wait=1 leaves nothing of batch_target=0.5",
        ),
        (INTS, {"batch_size": 2, "batch_concurrency": 0}, "batch_concurrency=0 is no number of batches"),
        (INTS, {"batch_size": 2, "batch_split": 1}, "batch_split=1 is neither True nor False"),
        (INTS, {"batch_size": 2, "weight": 3}, "weight=3 is no function of an item"),
        (INTS, {"batch_wait": 1}, "batch_wait= is for an endpoint with batch_size="),
        (INTS, {"weight": len}, "weight= is for an endpoint with batch_size="),
    ],
    ids=range(17),
)
def test_a_batch_that_cannot_be_is_an_error_when_the_class_is_made(
    annotations: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match="run") as error:
        endpoint(annotations, **options)
    assert said in str(error.value)


def test_a_subclass_takes_batches_as_its_base_does() -> None:
    class Base(Executor):
        @post(batch_size=4)
        def run(self, x: list[int]) -> list[int]:
            return x

    class Derived(Base):
        def run(self, x: list[int]) -> list[int]:
            return [2 * one for one in x]

    with Derived() as derived:
        assert derived.post(x=2) == 4
        assert derived.post(x=[2, 3]) == [4, 6]
