"""A site as a listener is given it: each call that comes by it is told by which driver it came."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol

from xooai.driver import Channel, Guarding, Head, Shape

if TYPE_CHECKING:
    from xooai.proxies import Proxies

__all__ = ["Accept", "Handling", "Over", "Passing", "over"]

Accept = Callable[[Channel], Coroutine[Any, Any, None]]
"""What answers one call, as `xooai.driver.Site.accept`."""


class Handling(Protocol):
    """What knows how long its handlers take."""

    def handling(self, driver: str, path: str) -> float:
        """The seconds that a handler takes for calls by a driver, in the mean; inf where nobody knows."""


class Passing(Protocol):
    """What passes calls on to another process, where that has less to do."""

    def accepting(self, accept: Accept, site: Handling, driver: str) -> Accept:
        """What accepts the calls that come by a driver, in place of `accept`, which answers them here."""


class _Site(Handling, Protocol):
    """What stands behind it."""

    def accepting(self, driver: str) -> Accept: ...

    def ready(self) -> bool: ...

    def shape(self, path: str) -> Shape | None: ...

    def describe(self, form: Literal["openapi", "proto", "json"]) -> bytes: ...

    async def measured(self, form: Literal["text", "openmetrics", "json"]) -> bytes: ...


class Over:
    """Implements `xooai.driver.Site` and `Measuring`."""

    def __init__(self, site: _Site, driver: str) -> None:
        self.driver = driver
        self.accept: Accept = site.accepting(driver)
        """Answer one call, as the site does."""
        self.ready, self.shape, self.describe, self.measured = site.ready, site.shape, site.describe, site.measured

    def believe(self, proxies: Proxies) -> None:
        """Have calls come from where these proxies say."""
        accept = self.accept

        def told(channel: Channel) -> Coroutine[Any, Any, None]:
            head = channel.head
            head.peer = proxies.client(head.peer, head.metadata)
            return accept(channel)

        self.accept = told


class _Guarded(Over):
    """Implements `xooai.driver.Guarding` beside."""

    def __init__(self, site: _Site, driver: str) -> None:
        super().__init__(site, driver)
        assert isinstance(site, Guarding)
        self._admit, self.knows = site.admit, site.knows

    def admit(self, head: Head) -> str:
        """Whose request this is. Raises Unauthenticated and PermissionDenied."""
        head.driver = self.driver
        return self._admit(head)

    def believe(self, proxies: Proxies) -> None:
        """Have all that asks to be let in come from where these proxies say."""
        super().believe(proxies)
        admit = self._admit

        def told(head: Head) -> str:
            head.peer = proxies.client(head.peer, head.metadata)
            return admit(head)

        self._admit = told


def over(site: _Site, driver: str, proxies: Proxies | None = None, passing: Passing | None = None) -> Over:
    """The site for listeners of a driver, behind `proxies` that are believed. Calls may go on by `passing`."""
    found = _Guarded(site, driver) if isinstance(site, Guarding) else Over(site, driver)
    if passing is not None:
        found.accept = passing.accepting(found.accept, site, driver)
    if proxies is not None:
        found.believe(proxies)
    return found
