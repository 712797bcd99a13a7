"""What is served and let go of: the listeners of an executor or a Flow, its threads and its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from xooai import sync
from xooai.caller import Caller
from xooai.driver import ListenOptions
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition
from xooai.hosting import DEFAULT_URL, GRACE, Background, announce, each, serve_until_signal
from xooai.lazy import lazy
from xooai.local import Local

if TYPE_CHECKING:
    from xooai import mapping
    from xooai import workers as processes
else:
    mapping = lazy("xooai.mapping")
    processes = lazy("xooai.workers")  # most serve alone

__all__ = ["Served"]


class Served(Caller):
    """What answers calls itself, in this process or at URLs."""

    _xooai_own: Local | None = None
    _xooai_background: Background | None = None

    def map(  # noqa: PLR0913 - all that can be said of many calls
        self,
        /,
        on: str | None = None,
        docs: Iterable[Any] | AsyncIterable[Any] | None = None,
        *,
        calls: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]] | None = None,
        concurrency: int = 32,  # as many as a server batches, and has threads at most
        ordered: bool = True,
        on_error: Literal["raise", "keep"] = "raise",
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        progress: bool = False,
        **constants: Any,
    ) -> Generator[Any, None, None]:
        """Call an endpoint for each of many documents, `concurrency` of them at a time: an iterator of the results.

        `docs` are the values of the endpoint's one required parameter that `constants` do not fill; of the first one, where none
        is required. `calls`, in their place, are mappings of arguments by name, which go before `constants`. Either is read as
        the results are taken, in a thread where reading may block: at most four times `concurrency` are read and not yet given
        out.

        The results come in the order of the items. With `ordered=False` each comes as soon as it is there, and with
        `on_error="keep"` an error is kept beside what it is of: then each is a `Mapped`, with `index`, `item`, `result`, `error`.
        Else the first call that fails ends it: in order, what came before is given out, the others are cancelled.

        `timeout` is in seconds, for each item. A call that a server refuses with a time to come back is made again after it, up
        to 10 times in all. Leaving the loop cancels the calls under way. `progress` shows a bar on stderr.
        """
        sync.refuse_on_serving_loop("map()", "anext() of amap(...)")
        own = {"metadata": metadata, "codec": codec}
        asked = mapping.Asked(self, on, docs, calls, concurrency, ordered, on_error, timeout, progress, own, constants)
        return mapping.blocking(asked)

    def amap(  # noqa: PLR0913 - as above
        self,
        /,
        on: str | None = None,
        docs: Iterable[Any] | AsyncIterable[Any] | None = None,
        *,
        calls: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]] | None = None,
        concurrency: int = 32,
        ordered: bool = True,
        on_error: Literal["raise", "keep"] = "raise",
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        progress: bool = False,
        **constants: Any,
    ) -> AsyncGenerator[Any, None]:
        """As `map`, for async code: `async for result in e.amap(...)`."""
        own = {"metadata": metadata, "codec": codec}
        asked = mapping.Asked(self, on, docs, calls, concurrency, ordered, on_error, timeout, progress, own, constants)
        return mapping.taken(asked)

    def serve(  # noqa: PLR0913 - all that can be said of a server (design: the public face)
        self,
        *urls: str,
        certificate: str | None = None,
        key: str | None = None,
        grace: float = GRACE,
        drain_delay: float = 0,
        insecure: bool = False,
        workers: int | None = None,
        devices: Sequence[str | int] = (),
        isolated: bool = False,
        limit: int | None = None,
        queue: int | None = None,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        """Serve at `urls` (http://127.0.0.1:8080 where none is given) until SIGINT or SIGTERM.

        Calls under way then get `grace` seconds; for `drain_delay` seconds before, the server says that it is not ready and
        goes on: balancers find out. `certificate` and `key` are PEM files, for TLS. Beyond loopback it refuses unless
        `insecure`. With `workers` so many processes serve, each with one of these made from what the constructor of this one
        got; `devices` are dealt to them. Where it is `isolated`, one process has it, and they call that. Of all calls `limit`
        run at a time and `queue` (1,024) wait, in each process. `trusted_proxies` are believed where a call comes from. See
        `xooai.serve`.
        """
        proxies = each(trusted_proxies)
        options = ListenOptions(certificate, key, insecure=insecure, limit=limit, queue=queue, trusted_proxies=proxies)
        if workers is not None or devices != () or isolated is not False:
            given = urls or (DEFAULT_URL,)
            processes.serve_made([self], given, options, (grace, drain_delay), workers, devices, isolated)
            return
        try:
            serve_until_signal(
                [self._xooai_hosted()], urls or (DEFAULT_URL,), options, grace, announce, drain_delay=drain_delay
            )
        finally:
            self._xooai_served()

    def start(
        self,
        *urls: str,
        certificate: str | None = None,
        key: str | None = None,
        grace: float = GRACE,
        insecure: bool = False,
        limit: int | None = None,
        queue: int | None = None,
        trusted_proxies: Sequence[str] = (),
    ) -> list[str]:
        """As `serve`, in a thread of its own; return the bound URLs (port 0 is resolved). `stop` ends it."""
        if self._xooai_background is not None:
            raise FailedPrecondition(f"{self!r} serves already; stop() it first, or give all URLs to one start()")
        proxies = each(trusted_proxies)
        options = ListenOptions(certificate, key, insecure=insecure, limit=limit, queue=queue, trusted_proxies=proxies)
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
