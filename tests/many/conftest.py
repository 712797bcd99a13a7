"""Executors in every place: in this process, and at a server of each driver."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from grpc_poller import poller
from xooai import Executor

__all__ = ["poller"]

PLACES = {
    "in process": "",
    "over http": "http://127.0.0.1:0",
    "over grpc": "grpc://127.0.0.1:0",
    "over quic": "quic://127.0.0.1:0",
    "without class": "http://127.0.0.1:0",
}
"""How an executor is reached: the URL that it listens at."""


@pytest.fixture(params=PLACES)
def put(request: pytest.FixtureRequest) -> Iterator[Callable[[Executor], Any]]:
    """Put an executor into a place until the test ends; what a caller of it holds."""
    with ExitStack() as stack:

        def put(executor: Executor) -> Any:
            stack.enter_context(executor)
            url = PLACES[request.param]
            if not url:
                return executor
            if url.startswith("quic"):
                pytest.importorskip("aioquic", reason="serving needs aioquic; it comes with: pip install -e '.[quic]'")
            bound = executor.start(url)[0]
            if request.param == "without class":
                return stack.enter_context(Executor(f"{bound}/{executor.name}"))
            return stack.enter_context(type(executor).at(bound, trust=_trust(url)))

        yield put


def _trust(url: str) -> str | None:
    """Whom a client trusts: the certificate that a server of QUIC makes for development."""
    if not url.startswith("quic"):
        return None
    return str(importlib.import_module("xooai_quic.certificate").for_development().fingerprint)
