"""The tests of payloads run over every driver; servers and clients have caches of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from payload_kit import DRIVERS, Place

from authority import HERE, Authority
from grpc_poller import poller
from xooai import contents, sync

__all__ = ["poller"]


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[str, str]]:
    """A certificate for this machine and its key, made when they are first asked for."""
    found: list[tuple[str, str]] = []

    def made() -> tuple[str, str]:
        if not found:
            own = Authority(tmp_path_factory.mktemp("payload_pki")).signs("server", HERE)
            found.append((str(own.certificate), str(own.key)))
        return found[0]

    return made


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache for the clients of this test, which no other test has used; also for those that block."""
    folder = tmp_path / "client"
    monkeypatch.setenv("XOOAI_CACHE", str(folder))
    sync.run(contents._caches().aclose())
    yield folder
    sync.run(contents._caches().aclose())


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place_over(
    tmp_path: Path, pem: Callable[[], tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Place]]:
    """Where executors are served over a driver, until the test ends."""
    with ExitStack() as stack:
        yield lambda scheme: Place(scheme, tmp_path, pem, monkeypatch, stack)


@pytest.fixture
def place(place_over: Callable[[str], Place]) -> Place:
    """Over the driver that needs no network."""
    return place_over("memory")


@pytest.fixture
def over_http(place_over: Callable[[str], Place]) -> Place:
    return place_over("http")


@pytest.fixture(params=DRIVERS)
def each_driver(request: pytest.FixtureRequest, place_over: Callable[[str], Place]) -> Place:
    """Over each driver in turn, in every run: for what they carry differently."""
    return place_over(str(request.param))


def mostly_slow(schemes: list[str]) -> list[Any]:
    """The first of some drivers in every run, the others where slow tests run: above them all is the same."""
    return [schemes[0], *(pytest.param(scheme, marks=pytest.mark.slow) for scheme in schemes[1:])]


@pytest.fixture(params=mostly_slow(DRIVERS))
def everywhere(request: pytest.FixtureRequest, place_over: Callable[[str], Place]) -> Place:
    """Over each driver in turn."""
    return place_over(str(request.param))


@pytest.fixture(params=mostly_slow([scheme for scheme in DRIVERS if scheme != "quic"]))
def trusted(request: pytest.FixtureRequest, place_over: Callable[[str], Place]) -> Place:
    """Over each driver that a client reaches by the URL alone: no certificate has to be trusted."""
    return place_over(str(request.param))
