"""Nodes of Flows in every place: in this process, and at a server of each driver."""

from __future__ import annotations

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
}
"""How the nodes are reached: the URL that their executors listen at."""


@pytest.fixture(params=PLACES)
def put(request: pytest.FixtureRequest) -> Iterator[Callable[[Executor], dict[str, Any]]]:
    """Put an executor into a place until the test ends; what `add` is to be told to call it there."""
    with ExitStack() as stack:

        def put(executor: Executor) -> dict[str, Any]:
            stack.enter_context(executor)
            url = PLACES[request.param]
            if not url:
                return {"use": executor}
            return {"use": f"{executor.start(url)[0]}/{executor.name}"}

        yield put


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serve an executor or a Flow over HTTP until the test ends: its URL, with its name."""
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    with ExitStack() as stack:
        yield lambda served: f"{stack.enter_context(served).start('http://127.0.0.1:0')[0]}/{served.name}"
