"""Calls of endpoints by their URLs alone: the servers that were called so, each of which is asked once what it has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from xooai.address import Address, resolved
from xooai.call import Layer, remaining
from xooai.client import Remote
from xooai.endpoint import Endpoint

if TYPE_CHECKING:
    from xooai.shared_stores import Stores

__all__ = ["Elsewhere"]


class Elsewhere:
    """The servers that an executor posts to by URL."""

    LIMIT = 64  # servers: more than a program names; the oldest is dialled again

    def __init__(self, layers: tuple[Layer, ...] = (), stores: Stores | None = None) -> None:
        self._layers, self._stores = layers, stores
        self._remotes: dict[str, Remote] = {}

    async def post(
        self,
        url: str,
        arguments: dict[str, Any],
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        codec: str | None,
    ) -> Any:
        """Call the endpoint at `scheme://host:port/executor/endpoint`; its types come from the server's description."""
        remote, executor, endpoint, limit = await self.found(url, timeout)
        return await remote.call(executor, endpoint, arguments, limit, codec, metadata)

    async def found(self, url: str, timeout: float | None) -> tuple[Remote, str, Endpoint, float | None]:
        """The server of a URL, the executor and endpoint that it names, and the seconds left for calling it."""
        address = Address.of(url)
        remote = self._remotes.get(address.server)
        if remote is None:
            while len(self._remotes) >= self.LIMIT:
                self._remotes.pop(next(iter(self._remotes)))
            remote = self._remotes[address.server] = Remote(address.server, layers=self._layers, stores=self._stores)
        limit = remaining(remote.timeout if timeout is None else timeout)
        (executor, endpoint), limit = await remote.found(partial(resolved, address), limit)
        return remote, executor, endpoint, limit

    def remotes(self) -> list[Remote]:
        """Those called so far."""
        return list(self._remotes.values())
