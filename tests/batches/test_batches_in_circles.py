"""Batches that call their own endpoint: what they wait for runs beside them, and no circle waits for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from circular import Circular, Middle

from everywhere import served
from xooai import FailedPrecondition
from xooai.threads import SIZE

LIMIT = 20.0  # seconds: what waits for itself fails its test instead of stopping the run


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def circular() -> Iterator[Circular]:
    with Circular() as executor:
        yield executor


@pytest.fixture
def url(scheme: str, circular: Circular, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    return served(circular, scheme, request, monkeypatch)


@pytest.mark.parametrize("name", ["down", "blocking"])
def test_a_batch_that_calls_its_own_server_by_url_does_not_wait_for_itself(url: str, name: str) -> None:
    with Circular.at(url, timeout=LIMIT) as client:
        assert client.post(on=name, x=3, at=f"{url}/{name}") == 3
        assert client.post(on=name, x=[0, 1, 2, 3], at=f"{url}/{name}") == [0, 1, 2, 3]


def test_a_batch_that_is_called_by_way_of_another_server_does_not_wait_for_itself(
    url: str, scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Middle() as middle:
        there = served(middle, scheme, request, monkeypatch)
        with Circular.at(url, timeout=LIMIT) as client:
            assert client.post(on="around", x=3, at=f"{there}/around", back=f"{url}/around") == 3


def test_a_circle_by_url_without_an_end_is_told_so(url: str) -> None:
    with Circular.at(url, timeout=LIMIT) as client, pytest.raises(FailedPrecondition, match="each calling the next"):
        client.post(on="down", x=1000, at=f"{url}/down")


def test_blocking_batches_call_themselves_more_often_than_there_are_threads(circular: Circular) -> None:
    assert circular.post(on="blocking", x=SIZE + 4, at="blocking", timeout=LIMIT) == SIZE + 4


@pytest.mark.parametrize("name", ["down", "blocking"])
def test_a_method_that_calls_itself_without_an_end_is_told_so(circular: Circular, name: str) -> None:
    with pytest.raises(FailedPrecondition, match="calls itself"):
        circular.post(on=name, x=1000, at=name, timeout=LIMIT)


def test_who_makes_up_that_he_is_called_by_a_batch_waits_like_all_others(url: str, circular: Circular) -> None:
    with Circular.at(url, timeout=LIMIT) as client:
        made_up: dict[str, Any] = {"metadata": {"xooai-batches": "0" * 16 + ",no token," + "f" * 16}}
        assert client.post(on="down", x=2, at=f"{url}/down", **made_up) == 2
