"""A site as a listener is given it: each call that comes by it is told by which driver it came."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, Protocol

from xooai.driver import Channel, Guarding, Head, Shape

__all__ = ["Over", "over"]


class _Site(Protocol):
    """What stands behind it."""

    def accept(self, channel: Channel) -> Coroutine[Any, Any, None]: ...

    def ready(self) -> bool: ...

    def shape(self, path: str) -> Shape | None: ...

    def describe(self, form: Literal["openapi", "proto", "json"]) -> bytes: ...

    async def measured(self, form: Literal["text", "openmetrics", "json"]) -> bytes: ...


class Over:
    """Implements `xooai.driver.Site` and `Measuring`."""

    def __init__(self, site: _Site, driver: str) -> None:
        self.driver = driver
        self._accept = site.accept
        self.ready, self.shape, self.describe, self.measured = site.ready, site.shape, site.describe, site.measured

    def accept(self, channel: Channel) -> Coroutine[Any, Any, None]:
        """Answer one call, as the site does."""
        channel.head.driver = self.driver
        return self._accept(channel)


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


def over(site: _Site, driver: str) -> Over:
    """The site for listeners of a driver."""
    return _Guarded(site, driver) if isinstance(site, Guarding) else Over(site, driver)
