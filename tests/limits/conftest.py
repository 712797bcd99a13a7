"""An executor with limits, served over every driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from holding import Holding

from authority import Authority
from everywhere import served
from grpc_poller import poller

__all__ = ["poller"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def works() -> Iterator[Holding]:
    with Holding() as executor:
        yield executor
        executor.gate.set()


@pytest.fixture(params=["http", "grpc", "quic", "memory"])
def url(request: pytest.FixtureRequest, works: Holding, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where it is served, over one driver after the other."""
    return served(works, str(request.param), request, monkeypatch)


@pytest.fixture
def http(works: Holding) -> str:
    """Where it is served over HTTP."""
    pytest.importorskip("uvicorn")
    return works.start("http://127.0.0.1:0")[0]
