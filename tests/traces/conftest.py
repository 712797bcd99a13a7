"""Traces are recorded in memory by OpenTelemetry's own SDK, for one test at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from recorded import Recorded

from authority import Authority
from everywhere import served
from grpc_poller import poller
from xooai import Executor

__all__ = ["poller"]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """The spans of this test."""
    found = Recorded(monkeypatch)
    yield found
    found.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def client_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """Serve an executor by a driver until the test ends: a client of its class."""
    with ExitStack() as stack:

        def client(executor: Executor) -> Any:
            stack.enter_context(executor)
            return stack.enter_context(type(executor).at(served(executor, request.param, request, monkeypatch)))

        yield client
