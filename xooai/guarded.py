"""A site that answers those only who have a key, or a certificate, that allows what they call."""

from __future__ import annotations

from msgspec.structs import replace

from xooai.driver import AUTHORIZATION, Channel, Head, Outcome
from xooai.errors import XooaiError
from xooai.keys import Keyring
from xooai.server import Hosted, Site

__all__ = ["GuardedSite"]


class GuardedSite(Site):
    """Implements `xooai.driver.Guarding` beside."""

    def __init__(self, executors: tuple[Hosted, ...], keys: Keyring) -> None:
        super().__init__(executors)
        self._keys = keys

    def admit(self, head: Head) -> str:
        """Whose request this is. Raises Unauthenticated and PermissionDenied."""
        return self._keys.admit(head.path, head.metadata, head.identity)

    def reload(self) -> None:
        """Read the file of keys as it is now. Implements `xooai.driver.Reloading`."""
        self._keys.look()

    async def accept(self, channel: Channel) -> None:
        """Answer one call, if its caller may make it."""
        head = channel.head
        try:
            identity = self.admit(head)
        except XooaiError as error:
            await channel.end(None, Outcome(error.code, error.message, error.details))
            return
        # A handler is not given what the caller proved it by.
        metadata = {name: value for name, value in head.metadata.items() if name != AUTHORIZATION}
        channel.head = replace(head, identity=identity, metadata=metadata)
        await super().accept(channel)
