"""The links to one server: one a loop, dialled on first use and closed with its loop at the latest."""

from __future__ import annotations

import asyncio
from functools import partial
from urllib.parse import urlsplit

from xooai import forks, plugins
from xooai.driver import DialOptions, Link
from xooai.per_loop import PerLoop

__all__ = ["Links"]


class Links(PerLoop[Link]):
    """Gives the running loop its link to `server`."""

    def __init__(self, server: str, options: DialOptions) -> None:
        super().__init__(partial(_dialled, server, options))  # no method: it would hold itself, and its links, by it

    def renew(self) -> None:
        """Begin without links; those that there were are never closed in the child of a fork."""
        if hasattr(self, "near"):
            forks.LEFT.append(self.near)
        super().renew()
        self.near: tuple[asyncio.AbstractEventLoop, Link] | None = None
        """The link that was used last, and its loop: asking a weak dict costs more."""

    def of(self, loop: asyncio.AbstractEventLoop) -> Link | None:
        """The link of the running loop, where it has one: also where another loop used its own since."""
        near = self.near
        if near is not None and near[0] is loop:
            return near[1]
        link = self._things.get(loop)
        if link is not None:
            self.near = loop, link
        return link

    async def get(self) -> Link:
        """The link of the running loop."""
        link = await super().get()
        self.near = asyncio.get_running_loop(), link
        return link

    async def aclose(self) -> None:
        """Close the link of the running loop."""
        self.near = None
        await super().aclose()


async def _dialled(server: str, options: DialOptions) -> Link:
    return await plugins.driver(urlsplit(server).scheme).dial(server, options)
