"""A fan-out of which one branch fails: what the policy says becomes of the others, and of the contents that they were sent."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flow_places import EVERYWHERE

from xooai import DeadlineExceeded, Executor, File, Flow, FlowError, Internal, NotFound, XooaiError, post

Put = Callable[[Executor], dict[str, Any]]
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run
BRANCHES = 8
SOON = 0.5  # seconds within which the others have ended
LARGE = 400 * 1024  # bytes: more than goes inline


class Fan(Executor):
    """Reads what it is given, then fails at one branch, once all have begun; the others wait."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.renew()

    def renew(self) -> None:
        self.begun: list[int] = []
        self.all_begun = threading.Event()
        self.failed_at = 0.0
        self.cancelled_at: list[float] = []
        self.all_ended = threading.Event()

    @post
    async def branch(self, doc: File, number: int, how: str = "") -> int:
        size = len(await doc.aread())
        self.begun.append(number)
        if len(self.begun) == BRANCHES:
            self.all_begun.set()
        try:
            if number == 3:
                await asyncio.to_thread(self.all_begun.wait, PATIENCE)
            if number == 3 and how == "fails":
                raise NotFound("there is no such page")
            if number == 3 and how == "is cancelled":
                raise asyncio.CancelledError
            await asyncio.sleep(0.01 if how == "goes on" and number != 3 else PATIENCE)
        except asyncio.CancelledError:
            if number != 3:
                self.cancelled_at.append(time.monotonic())
                if len(self.cancelled_at) == BRANCHES - 1:
                    self.all_ended.set()
            raise
        finally:
            if number == 3:
                self.failed_at = time.monotonic()
        return size


def size(doc: str) -> int:
    return len(doc)


def fan_out(there: dict[str, Any], store: str, how: str, *, optional: bool = False) -> Flow:
    f = Flow(store=store)
    for number in range(BRANCHES):
        timeout = 1.0 if number == 3 and how in ("times out", "goes on") else None
        args = {"number": number, "how": how}
        f.add(**there, on="branch", id=f"b{number}", args=args, timeout=timeout, optional=optional and number == 3)
    return f


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"shared={(tmp_path / 'store').as_uri()}"


@pytest.mark.parametrize("put", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("how", ["fails", "times out", "is cancelled"])
def test_one_branch_of_eight_that_does_not_end_well_ends_the_others_and_leaves_one_content(
    put: Put, store: str, tmp_path: Path, how: str
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * LARGE)
    fan = Fan(store=store)
    wanted = {"fails": NotFound, "times out": DeadlineExceeded, "is cancelled": Internal}[how]
    with fan_out(put(fan), store, how) as f:
        left = []
        for _ in range(2):
            fan.renew()
            with pytest.raises(XooaiError) as told:
                f.post(doc=File(ref=str(large)))
            assert fan.all_ended.wait(PATIENCE)
            assert max(fan.cancelled_at) - fan.failed_at < SOON
            left.append(sorted(path.name for path in (tmp_path / "store").rglob("*") if path.is_file()))

    assert type(told.value) is wanted
    assert told.value.details["node"] == "b3"
    assert told.value.id
    assert "node 'b3'" in told.value.message
    assert told.value.message.endswith(f"(request {told.value.id})")
    assert left[0] == left[1]  # no content but the one, which is kept once, and no part of one
    assert len(left[0]) <= 1


class Twice(Executor):
    """A branch that is called a second time while it waits, and one that fails then."""

    def __init__(self) -> None:
        self.begun, self.cancelled = 0, 0
        self.both_begun, self.both_cancelled = asyncio.Event(), threading.Event()

    @post(idempotent=True)
    async def slow(self, number: int) -> int:
        self.begun += 1
        if self.begun == 2:
            self.both_begun.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            self.cancelled += 1
            if self.cancelled == 2:
                self.both_cancelled.set()
            raise
        return number

    @post
    async def fails(self, number: int) -> int:
        await asyncio.wait_for(self.both_begun.wait(), PATIENCE)
        raise NotFound("there is no such page")


@pytest.mark.parametrize("put", EVERYWHERE, indirect=True)
def test_a_branch_that_fails_ends_both_attempts_of_the_one_beside_it(put: Put) -> None:
    twice = Twice()
    there = put(twice)
    f = Flow().add(**there, on="slow", id="slow", hedge=0.01).add(**there, on="fails", id="fails")
    with f, pytest.raises(NotFound, match="node 'fails' .*request") as told:
        f.post(number=1, timeout=PATIENCE)

    assert twice.both_cancelled.wait(PATIENCE)
    assert told.value.details["node"] == "fails"
    assert twice.begun == 2


@pytest.mark.parametrize("put", EVERYWHERE, indirect=True)
def test_where_a_branch_may_fail_the_others_answer(put: Put, store: str, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * LARGE)
    fan = Fan(store=store)
    with fan_out(put(fan), store, "goes on", optional=True) as f:
        found = f.post(doc=File(ref=str(large)))

    assert found == {f"b{number}": None if number == 3 else LARGE for number in range(BRANCHES)}
    assert not fan.cancelled_at


def test_flows_that_are_put_into_each_other_from_the_outermost_are_too_many_at_some_depth_as_well() -> None:
    flows = [Flow(name=f"f{number}").add(size, id="own") for number in range(40)]
    for outer, inner in pairwise(flows):
        outer.add(inner, id="inner")

    for call in (flows[0].check, lambda: flows[0].post(doc="x")):
        with pytest.raises(FlowError, match="40 Flows in one another; at most 30 stand so"):
            call()
    assert flows[20].check() == []


def test_a_flow_without_nodes_is_not_dumped() -> None:
    with pytest.raises(FlowError, match="it has no nodes"):
        Flow().dump()


def test_documents_that_go_where_plain_data_is_taken_are_warned_of() -> None:
    def take(doc: Any) -> str:
        return str(doc)

    def give(size: int) -> File:
        return File(value=b"x" * size)

    f = Flow().add(give, id="gives").add(take, id="takes", needs="gives")

    assert f.check() == [
        "gives's result is File, and 'doc' of takes is Any, which takes plain data alone; annotate it with the type"
    ]


def test_what_map_names_wrongly_is_told_before_an_item_is_taken() -> None:
    f = Flow().add(size, id="own")

    with pytest.raises(XooaiError, match="no endpoint 'cal'; did you mean 'call'"):
        f.map(on="cal", docs=["x"])
