"""What tests of QUIC share: the libraries that are installed, certificates, and loops checked for what is left behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from quic_files import Authority, Files

LIBRARIES = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"needs {name}: the extra {extra}"))
    for name, extra in (("aioquic", "quic"), ("qh3", "quic-fast"))
]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    from quic_files import Authority  # needs what the extra brings, which its tests skip without

    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def files(authority: Authority) -> Files:
    """A good certificate for this machine."""
    return authority.signs("here")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library in use."""
    monkeypatch.setenv("XOOAI_QUIC", request.param)
    return str(request.param)


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine. No task or unheard exception may be left at the end."""
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        yield runner.run
        left = asyncio.all_tasks(runner.get_loop())
    gc.collect(1)
    assert (left, complaints) == (set(), [])
