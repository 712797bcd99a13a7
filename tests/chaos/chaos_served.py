"""Puts executors and Flows at servers of any driver, with their certificates."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from xooai import Executor

__all__ = ["Served"]


class Served:
    """Puts executors and Flows at servers of any driver, until the test ends."""

    def __init__(self, stack: ExitStack, pem: dict[str, str]) -> None:
        self._stack, self._pem = stack, pem

    def url(self, scheme: str, served: Any) -> str:
        self._stack.enter_context(served)
        secured = {name: self._pem[name] for name in ("certificate", "key")} if scheme == "quic" else {}
        at = f"memory://{served.name}" if scheme == "memory" else f"{scheme}://127.0.0.1:0"
        return f"{served.start(at, **secured)[0]}/{served.name}"

    def client(self, url: str, kind: type[Executor] = Executor) -> Any:
        trust = self._pem["certificate"] if url.startswith("quic") else None
        return self._stack.enter_context(kind.at(url, trust=trust))
