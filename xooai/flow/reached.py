"""The servers of a Flow's nodes that are URLs, each of which keeps its connections for all nodes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xooai.driver import EMPTY, DialOptions
from xooai.flow.manner import Manner
from xooai.lazy import lazy

if TYPE_CHECKING:
    from xooai import client as remotes
    from xooai.shared_stores import Stores
else:
    remotes = lazy("xooai.client")

__all__ = ["Reached"]


class Reached:
    """The servers that were named so far: as many as there are nodes, at most. They stay as long as the Flow does."""

    def __init__(self, stores: Stores | None) -> None:
        self._stores = stores
        self._remotes: dict[tuple[str, bool, Manner | None], remotes.Remote] = {}

    def remote(self, server: str, goes_on: bool = False, manner: Manner | None = None) -> remotes.Remote:
        """A server, as it is called in this manner. A call that fails there `goes_on` to another one."""
        key = server, goes_on, manner
        found = self._remotes.get(key)
        if found is None:
            retries = remotes.Retries(0) if goes_on else remotes.Retries()
            said = Manner() if manner is None else manner
            options, metadata = DialOptions(trust=said.trust), dict(said.metadata) or EMPTY
            made = remotes.Remote(server, options, metadata=metadata, stores=self._stores, retries=retries)
            found = self._remotes.setdefault(key, made)
        return found

    def remotes(self) -> list[remotes.Remote]:
        """All of them."""
        return list(self._remotes.values())
