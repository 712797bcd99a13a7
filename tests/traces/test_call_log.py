"""The log of calls over every driver: one record each, refused ones among them, with what was called and by whom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from traced_executors import Near, Relay

from xooai import Internal, NotFound

Client = Callable[[Any], Any]


@pytest.fixture
def calls(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """What was told of calls; switched on before anything is served."""
    caplog.set_level(logging.INFO, "xooai.calls")

    def told() -> list[dict[str, Any]]:
        found = [record for record in caplog.records if record.name == "xooai.calls"]
        own = [vars(record) for record in found]
        return [{**one["fields"], "id": one["request_id"]} for one in own if one["fields"]["executor"] != "xooai"]

    return told


def test_a_call_has_one_record(calls: Callable[[], list[dict[str, Any]]], client_of: Client) -> None:
    id = client_of(Near()).post(on="in_thread", n=1)["id"]
    (told,) = until(calls, 1)
    assert told["id"] == id
    assert (told["executor"], told["endpoint"], told["code"]) == ("near", "in_thread", "OK")
    assert told["received"] > 0
    assert told["sent"] > 0
    assert 0 < told["ms"] < 60_000
    assert told["driver"]
    assert told["peer"]


def test_records_of_all_servers_that_a_call_goes_through_have_one_id(
    calls: Callable[[], list[dict[str, Any]]], client_of: Client
) -> None:
    client_of(Relay(client_of(Near()))).post(on="ask", what="on_loop", metadata={"x-request-id": "one"})
    assert {one["id"] for one in until(calls, 2)} == {"one"}


def test_failures_are_told_by_their_codes(calls: Callable[[], list[dict[str, Any]]], client_of: Client) -> None:
    near = client_of(Near())
    for name, kind in (("lost", NotFound), ("broken", Internal)):
        with pytest.raises(kind):
            near.post(on=name)
    assert [one["code"] for one in until(calls, 2)] == ["NOT_FOUND", "INTERNAL"]


def test_a_stream_is_one_record_with_its_items(calls: Callable[[], list[dict[str, Any]]], client_of: Client) -> None:
    assert len(list(client_of(Near()).stream(on="count", n=40))) == 40
    (told,) = until(calls, 1)
    assert (told["items_received"], told["items_sent"], told["code"]) == (1, 40, "OK")


def test_a_stream_that_its_caller_leaves_is_told_as_cancelled(
    calls: Callable[[], list[dict[str, Any]]], client_of: Client
) -> None:
    for _ in client_of(Near()).stream(on="count", n=1_000_000):
        break
    (told,) = until(calls, 1)
    assert told["code"] == "CANCELLED"


def until(calls: Callable[[], list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    """The records, once there are so many: a server writes them when its client has the reply already."""
    end = time.monotonic() + 10
    while len(found := calls()) < count:
        assert time.monotonic() < end, found
        time.sleep(0.002)
    return found
