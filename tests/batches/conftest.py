"""An executor that notes its batches, and callers of it in its process and over every driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from noted_batches import Noting

from authority import HERE, Authority
from grpc_poller import poller
from xooai import plugins

__all__ = ["poller"]


@pytest.fixture
def noting() -> Iterator[Noting]:
    with Noting() as executor:
        yield executor


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=["in process", "http", "grpc", "quic", "memory"])
def url(request: pytest.FixtureRequest, noting: Noting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str | None:
    """Where it is served; None where it is called in its process."""
    scheme, certificate = str(request.param), None
    if scheme == "in process":
        return None
    plugins.driver(scheme)  # what is not installed skips the test
    if scheme == "quic":
        authority: Authority = request.getfixturevalue("authority")
        certificate = str(authority.signs("server", HERE).both)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
    where = "memory://noting" if scheme == "memory" else f"{scheme}://127.0.0.1:0"
    return noting.start(where, certificate=certificate)[0]


@pytest.fixture
def client(url: str | None, noting: Noting) -> Iterator[Any]:
    """Whoever calls it: the executor itself, or a client over a driver."""
    if url is None:
        yield noting
        return
    with Noting.at(url) as client:
        yield client
