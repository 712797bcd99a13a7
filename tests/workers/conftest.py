"""What tests of workers share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import PROGRAM, Program, running

from authority import HERE, Authority
from grpc_poller import poller

__all__ = ["poller"]

EVERYWHERE = "http://127.0.0.1:0,grpc://127.0.0.1:0,quic://127.0.0.1:0"


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder with a short path, since a socket's has some 100 characters."""
    with tempfile.TemporaryDirectory() as found:
        yield found


@pytest.fixture(params=[5.0, pytest.param(1.0, marks=pytest.mark.slow)], ids=["busy", "promised"])
def pace(request: pytest.FixtureRequest) -> float:
    """Times that something may take of what is promised for two free cores: a busy machine takes longer."""
    found: float = request.param
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where each call is noted when it runs."""
    found = tmp_path / "notes"
    monkeypatch.setenv("TEST_NOTES", str(found))
    return found


@pytest.fixture
def program(authority: Authority, monkeypatch: pytest.MonkeyPatch, notes: Path) -> Iterator[Program]:
    """Two workers, at a URL of each driver."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
    certificate = str(authority.signs("server", HERE).both)
    with running([str(PROGRAM), EVERYWHERE, "2"], TEST_CERTIFICATE=certificate) as found:
        found.until("is ready after", times=2)
        yield found
