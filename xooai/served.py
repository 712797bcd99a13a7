"""What is served and let go of: the listeners of an executor or a Flow, its threads and its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self

from xooai import sync
from xooai.caller import Caller
from xooai.driver import ListenOptions
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition
from xooai.hosting import DEFAULT_URL, GRACE, Background, announce, serve_until_signal
from xooai.local import Local

__all__ = ["Served"]


class Served(Caller):
    """What answers calls itself, in this process or at URLs."""

    _xooai_own: Local | None = None
    _xooai_background: Background | None = None

    def serve(
        self,
        *urls: str,
        certificate: str | None = None,
        key: str | None = None,
        grace: float = GRACE,
        insecure: bool = False,
    ) -> None:
        """Serve at `urls` (http://127.0.0.1:8080 where none is given) until SIGINT or SIGTERM.

        Calls under way then get `grace` seconds. `certificate` and `key` are PEM files, for TLS. Beyond loopback it refuses
        unless `insecure`.
        """
        options = ListenOptions(certificate, key, insecure=insecure)
        try:
            serve_until_signal([self._xooai_hosted()], urls or (DEFAULT_URL,), options, grace, announce)
        finally:
            self._xooai_served()

    def start(
        self,
        *urls: str,
        certificate: str | None = None,
        key: str | None = None,
        grace: float = GRACE,
        insecure: bool = False,
    ) -> list[str]:
        """As `serve`, in a thread of its own; return the bound URLs (port 0 is resolved). `stop` ends it."""
        if self._xooai_background is not None:
            raise FailedPrecondition(f"{self!r} serves already; stop() it first, or give all URLs to one start()")
        options = ListenOptions(certificate, key, insecure=insecure)
        background = Background([self._xooai_hosted()], urls or (DEFAULT_URL,), options, grace)
        bound = background.start()
        self._xooai_keep(_xooai_background=background)
        return bound

    def stop(self) -> None:
        """End what `start` began: calls under way finish first. Without a start, nothing."""
        background = self._xooai_background
        if background is not None:
            self._xooai_keep(_xooai_background=None)
            try:
                background.stop()
            finally:
                self._xooai_served()

    async def setup(self) -> None:
        """Yours to define: runs once, before the first call."""

    def close(self) -> None:
        """Yours to define: runs when a `with` block is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._xooai_end()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for remote in self._xooai_remotes():
                await remote.aclose()
            await asyncio.to_thread(self._xooai_end)
        finally:
            self.close()

    def _xooai_hosted(self) -> Local:
        """What a server hosts."""
        return self._xooai_local()

    def _xooai_served(self) -> None:
        """It is served no more, and no call is under way: let go of what was made for that."""

    def _xooai_known(self) -> Mapping[str, Endpoint] | None:
        """The endpoints; None where a server has to be asked for them, or an annotation is defined later."""
        if self._xooai_remote is not None and self._xooai_stands_for is None:
            return None
        try:
            return self._xooai_declared.endpoints
        except NameError:
            return None

    def _xooai_end(self) -> None:
        """Let go of what the framework holds: server, threads, connections."""
        self.stop()
        if self._xooai_own is not None:
            self._xooai_own.close()
        for remote in self._xooai_remotes():
            sync.close_remote(remote)
