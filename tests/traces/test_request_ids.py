"""Request ids: the caller's where it is one, else ours; one for all that a call leads to, in its replies, errors and log."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced_executors import Near, Relay

from everywhere import served
from xooai import Flow, Internal, NotFound, current
from xooai.metadata import Inquiry
from xooai.naming import given_id

Client = Callable[[Any], Any]


def test_a_callers_id_is_that_of_the_call_and_comes_back(client_of: Client) -> None:
    near = client_of(Near())
    asked = Inquiry({"X-Request-Id": "order-17/3"})
    assert near.post(on="on_loop", metadata=asked)["id"] == "order-17/3"
    assert asked.beside["x-request-id"] == "order-17/3"


def test_a_call_without_one_gets_one_and_nothing_more_is_sent(client_of: Client) -> None:
    near = client_of(Near())
    asked = Inquiry({})
    ids = {near.post(on="on_loop", metadata=asked)["id"] for _ in range(3)}
    assert len(ids) == 3
    assert "x-request-id" not in asked.beside


def test_one_id_goes_through_all_servers(client_of: Client) -> None:
    relay = client_of(Relay(client_of(Near())))
    assert relay.post(on="ask", what="on_loop", metadata={"x-request-id": "one"})["id"] == "one"
    assert relay.post(on="ask", what="in_thread", metadata={"x-request-id": "two"})["id"] == "two"


def test_one_id_goes_through_a_flow(client_of: Client) -> None:
    flow = (
        Flow(name="chain").add(use=client_of(Near()), on="on_loop", id="first").add(use=ids, id="second", needs="first")
    )
    with flow:
        assert flow.post(n=1, metadata={"x-request-id": "one"}) == ["one", "one"]


def ids(told: dict[str, Any]) -> list[str]:
    return [str(told["id"]), current().id]


def test_every_error_has_an_id_that_the_caller_is_told(client_of: Client, caplog: pytest.LogCaptureFixture) -> None:
    near = client_of(Near())
    with pytest.raises(NotFound) as mine:
        near.post(on="lost", metadata={"x-request-id": "mine"})
    assert mine.value.id == "mine"
    with pytest.raises(NotFound) as own:
        near.post(on="lost")
    assert own.value.id is not None
    with pytest.raises(Internal) as broken:
        near.post(on="broken")
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1  # once, however many are told
    assert broken.value.id is not None
    assert broken.value.id in logged[0].getMessage()


def test_a_failure_far_away_is_logged_there_under_the_id_that_the_caller_is_told(
    client_of: Client, caplog: pytest.LogCaptureFixture
) -> None:
    relay = client_of(Relay(client_of(Near())))
    with pytest.raises(Internal) as failed:
        relay.post(on="ask", what="broken")
    logged = [record.getMessage() for record in caplog.records if record.exc_info]
    assert len(logged) == 1
    assert str(failed.value.id) in logged[0]
    assert "near/broken" in logged[0]


@pytest.mark.parametrize(
    "sent", ["", " ", "-", "a b", "a\tb", 'a"b', "x" * 129, "<script>", "%0a", "a;b", "ä"], ids=ascii
)
def test_what_is_no_id_counts_as_none(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, sent: str
) -> None:
    with Near() as near:
        url = served(near, "http", request, monkeypatch)
        call = urllib.request.Request(
            f"{url}/near/on_loop", b"{}", {"content-type": "application/json", "x-request-id": sent}
        )
        with urllib.request.urlopen(call) as response:
            found, back = json.load(response), response.headers["x-request-id"]
    assert found["id"] != sent
    assert back == found["id"]


@given(st.text(max_size=200))
def test_an_id_is_never_more_than_a_short_word_of_plain_characters(text: str) -> None:
    found = given_id({"x-request-id": text})
    if found is not None:
        assert found == text
        assert 0 < len(text) <= 128
        assert text.isascii()
        assert not set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:=+/@-")


def test_curl_is_given_its_id_back_with_a_reply_and_with_an_error(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with Near() as near:
        url = served(near, "http", request, monkeypatch)
        for path, status in (("near/on_loop", 200), ("near/lost", 404), ("near/nowhere", 404), ("near/broken", 500)):
            call = urllib.request.Request(
                f"{url}/{path}", b"{}", {"x-request-id": "abc", "content-type": "application/json"}
            )
            try:
                response: Any = urllib.request.urlopen(call)
            except HTTPError as error:
                response = error
            with response:
                assert (response.status, response.headers.get_all("x-request-id")) == (status, ["abc"])
                assert status == 200 or json.load(response)["id"] == "abc"


def test_calls_within_a_call_have_its_id() -> None:
    with Near() as near, Relay(near) as relay:
        assert relay.post(on="ask", what="on_loop", metadata={"x-request-id": "one"})["id"] == "one"
        first, second = (relay.post(on="ask", what="on_loop")["id"] for _ in range(2))
        assert first != second
