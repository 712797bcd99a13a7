"""What the tests of calls share: places to call from, codecs, and servers that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from places import HERE, IN_PROCESS, WITH_CLASS, WITHOUT_CLASS, Place

from xooai import Executor
from xooai.driver import ListenOptions
from xooai.hosting import Background


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
            background = Background([executor._xooai_local() for executor in executors], [HERE], ListenOptions(), 1)
            stack.callback(background.stop)
            return background.start()[0]

        yield start
