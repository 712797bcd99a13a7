"""Places where one program is called from: in its process, over HTTP by a client of its class, and without the class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from xooai import Executor
from xooai.driver import ListenOptions
from xooai.hosting import Background

IN_PROCESS, WITH_CLASS, WITHOUT_CLASS = "in process", "over http", "without class"
HERE = "http://127.0.0.1:0"  # any free port
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Place:
    """Keeps executors where they are called from, until the test ends."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        self.kind = kind
        self.is_remote = kind != IN_PROCESS
        self.has_class = kind != WITHOUT_CLASS
        self._stack = stack

    def __call__(self, executor: Executor) -> Any:
        """What a caller of this executor holds: itself, or a client of it."""
        self._stack.enter_context(executor)
        if self.kind == IN_PROCESS:
            return executor
        url = executor.start(HERE)[0]
        client = type(executor).at(url) if self.has_class else Executor(f"{url}/{executor.name}")
        return self._stack.enter_context(client)


@pytest.fixture(params=[IN_PROCESS, WITH_CLASS, WITHOUT_CLASS])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(request.param, stack)


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serve an executor until the test ends: its URL, with its name."""
    with ExitStack() as stack:

        def start(executor: Executor) -> str:
            return f"{stack.enter_context(executor).start(HERE)[0]}/{executor.name}"

        yield start


@pytest.fixture
def serve_together() -> Iterator[Any]:
    """Serve several executors in one server until the test ends: its URL."""
    with ExitStack() as stack:

        def start(*executors: Executor) -> str:
            background = Background([executor._local() for executor in executors], [HERE], ListenOptions(), 1)
            stack.callback(background.stop)
            return background.start()[0]

        yield start
