"""What a caller says beside the arguments: the same is refused, and the same arrives, wherever the call goes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from places import HERE, Place

from xooai import DeadlineExceeded, Executor, Internal, InvalidArgument, current, post


class Telling(Executor):
    @post
    def told(self) -> dict[str, str]:
        return {name: value for name, value in current().metadata.items() if name.startswith("x-")}

    @post
    async def told_on_loop(self) -> dict[str, str]:
        return {name: value for name, value in current().metadata.items() if name.startswith("x-")}

    @post
    def answer(self, name: str, value: str) -> int:
        current().reply_metadata[name] = value
        return 1


WRONG = [
    ("timeout", math.nan),
    ("timeout", "5"),
    ("timeout", True),
    ("timeout", Decimal(5)),
    ("timeout", [1]),
    ("on", 5),
    ("on", b"told"),
    ("on", ["told"]),
    ("on", ("/",)),
    ("codec", 5),
    ("codec", ["json"]),
    ("metadata", 5),
    ("metadata", "a=b"),
    ("metadata", []),
    ("metadata", [("x-a", "1")]),
    ("metadata", {"x-a": 5}),
    ("metadata", {"x-a": None}),
    ("metadata", {"x-a": b"1"}),
    ("metadata", {5: "1"}),
    ("metadata", {"": "1"}),
    ("metadata", {"x a": "1"}),
    ("metadata", {"x-a": "1\r\nx-b: 2"}),
    ("metadata", {"x-a": "ä"}),
    ("metadata", {"content-type": "text/plain"}),
    ("metadata", {"Xooai-Timeout": "1"}),
    ("metadata", {"X-A": "1", "x-a": "2"}),
]


@pytest.mark.parametrize("endpoint", ["told", "told_on_loop"])
@pytest.mark.parametrize(("option", "value"), WRONG, ids=repr)
def test_what_no_call_takes_is_refused_by_its_name(place: Place, endpoint: str, option: str, value: Any) -> None:
    caller = place(Telling())
    options = {"on": endpoint, option: value}
    with pytest.raises(InvalidArgument, match=option):
        caller.post(**options)
    with pytest.raises(InvalidArgument, match=option):
        asyncio.run(_apost(caller, options))


async def _apost(caller: Executor, options: dict[str, Any]) -> Any:
    async with caller:
        return await caller.apost(**options)


@pytest.mark.parametrize(("option", "value"), [("timeout", -1), *(pair for pair in WRONG if pair[0] != "on")], ids=repr)
def test_nor_does_a_client_that_would_say_it_in_each_call(option: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=option):
        Telling.at("http://127.0.0.1:1", **{option: value})


@pytest.mark.parametrize("endpoint", ["told", "told_on_loop"])
@pytest.mark.parametrize("metadata", [{}, {"X-A": "  pad ", "x-b": ""}, {"x-a": "pad", "X-B": ""}], ids=repr)
def test_metadata_arrives_the_same_everywhere(place: Place, endpoint: str, metadata: Mapping[str, str]) -> None:
    found = place(Telling()).post(on=endpoint, metadata=metadata)
    assert found == ({"x-a": "pad", "x-b": ""} if metadata else {})


@pytest.mark.parametrize(("name", "value"), [("content-type", "x"), ("x a", "1"), ("x-a", "ä")])
def test_metadata_of_a_reply_is_held_to_the_same(
    place: Place, name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the handler's mistake."""
    caller = place(Telling())
    with pytest.raises(Internal):
        caller.post(on="answer", name=name, value=value)
    assert name in caplog.text


def test_any_number_of_seconds_is_a_timeout(place: Place) -> None:
    caller = place(Telling())
    for timeout in (5, 5.5, math.inf, 10**12):
        assert caller.post(on="told", timeout=timeout) == {}
    for timeout in (0, -0.5, -math.inf):  # what is left of a longer time that has passed
        with pytest.raises(DeadlineExceeded):
            caller.post(on="told", timeout=timeout)


def test_what_goes_elsewhere_is_checked_too() -> None:
    with Telling() as telling:
        url = f"{telling.start(HERE)[0]}/telling/told"
        options: list[dict[str, Any]] = [{"timeout": "5"}, {"codec": 5}, {"metadata": {"x-a": 5}}]
        for option in options:
            with pytest.raises(InvalidArgument, match=next(iter(option))):
                telling.post(on=url, **option)
