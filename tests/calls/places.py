"""Places where one program is called from: in its process, over HTTP by a client of its class, and without the class."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from xooai import Executor

__all__ = ["HERE", "IN_PROCESS", "PATIENCE", "WITHOUT_CLASS", "WITH_CLASS", "Place"]

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
