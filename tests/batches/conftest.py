"""An executor that notes its batches, and callers of it in its process and over every driver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from noted_batches import Noting

from authority import Authority
from everywhere import served
from grpc_poller import poller

__all__ = ["poller"]


@pytest.fixture
def noting() -> Iterator[Noting]:
    with Noting() as executor:
        yield executor


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=["in process", "http", "grpc", "quic", "memory"])
def url(request: pytest.FixtureRequest, noting: Noting, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Where it is served; None where it is called in its process."""
    scheme = str(request.param)
    return None if scheme == "in process" else served(noting, scheme, request, monkeypatch)


@pytest.fixture
def client(url: str | None, noting: Noting) -> Iterator[Any]:
    """Whoever calls it: the executor itself, or a client over a driver."""
    if url is None:
        yield noting
        return
    with Noting.at(url) as client:
        yield client
