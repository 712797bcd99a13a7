"""`xooai bench` in this process against an executor in it, over every driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from bench_target import Ended, Target

from authority import Authority
from everywhere import served
from grpc_poller import poller

__all__ = ["poller"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as executor:
        yield executor


@pytest.fixture(params=["http", "grpc", "quic"])
def anywhere(request: pytest.FixtureRequest, target: Target, monkeypatch: pytest.MonkeyPatch) -> str:
    return served(target, str(request.param), request, monkeypatch) + "/target"


@pytest.fixture
def url(target: Target) -> str:
    pytest.importorskip("uvicorn")
    return target.start("http://127.0.0.1:0")[0] + "/target"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command to its end."""
    pytest.importorskip("click")
    pytest.importorskip("rich")
    main = pytest.importorskip("xooai.cli").main

    def run(*args: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, args)])
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def bench(command: Callable[..., Ended]) -> Callable[..., Ended]:
    return partial(command, "bench")


@pytest.fixture
def top(command: Callable[..., Ended]) -> Callable[..., Ended]:
    return partial(command, "top")
