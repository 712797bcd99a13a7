"""Nodes of Flows in every place: in this process, and at a server of each driver."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flow_places import OVER_QUIC, PLACES

from grpc_poller import poller
from xooai import Executor

__all__ = ["poller"]


@pytest.fixture(params=PLACES)
def put(request: pytest.FixtureRequest) -> Iterator[Callable[[Executor], dict[str, Any]]]:
    """Put an executor into a place until the test ends; what `add` is to be told to call it there."""
    with ExitStack() as stack:

        def put(executor: Executor) -> dict[str, Any]:
            stack.enter_context(executor)
            if request.param == OVER_QUIC:
                return {"use": stack.enter_context(_over_quic(executor))}
            url = PLACES[request.param]
            if not url:
                return {"use": executor}
            return {"use": f"{executor.start(url)[0]}/{executor.name}"}

        yield put


def _over_quic(executor: Executor) -> Executor:
    """Serve an executor by a certificate of its own: a client that trusts it."""
    pytest.importorskip("aioquic", reason="serving needs it; it comes with: pip install -e '.[quic]'")
    trust = str(importlib.import_module("xooai_quic.certificate").for_development().fingerprint)
    return Executor.at(f"{executor.start('quic://127.0.0.1:0')[0]}/{executor.name}", trust=trust)


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serve an executor or a Flow over HTTP until the test ends: its URL, with its name."""
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    with ExitStack() as stack:
        yield lambda served: f"{stack.enter_context(served).start('http://127.0.0.1:0')[0]}/{served.name}"


NEEDED = {"http": "uvicorn", "grpc": "grpc", "quic": "aioquic"}


@pytest.fixture(params=NEEDED)
def client_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Executor]]:
    """Serve an executor or a Flow by a driver until the test ends: a client of it."""
    scheme: str = request.param
    pytest.importorskip(NEEDED[scheme], reason=f"serving needs it; it comes with: pip install -e '.[{scheme}]'")
    trust = None
    if scheme == "quic":
        trust = str(importlib.import_module("xooai_quic.certificate").for_development().fingerprint)
    with ExitStack() as stack:

        def client_of(served: Any) -> Executor:
            bound = stack.enter_context(served).start(f"{scheme}://127.0.0.1:0")[0]
            kind = type(served) if isinstance(served, Executor) else Executor
            return stack.enter_context(kind.at(f"{bound}/{served.name}", trust=trust))

        yield client_of
