"""A connection that a library has made, taken over: what both libraries have, down to private names (aioquic 1.7, qh3 2.1)."""

from __future__ import annotations

from typing import Any, Self

__all__ = ["Adopted"]


class Adopted:
    """Among the bases of a class that a library's `QuicConnection` is made to be."""

    _close_event: Any

    @classmethod
    def of(cls, connection: Any, streams: int) -> Self:
        """Make a connection that has not begun one of these: the library's server makes them of its own class.

        It takes `streams` of the peer at once, where the library lets that be chosen.
        """
        connection.__class__ = cls
        assert isinstance(connection, cls)
        connection.adopt(streams)
        return connection

    def adopt(self, streams: int) -> None:
        """Begin to be one of these."""

    @property
    def closing(self) -> str | None:
        """Why the connection ends, as soon as one side wants it to: its event comes when all is over, much later."""
        event = self._close_event
        return None if event is None else event.reason_phrase or f"it was closed with code {event.error_code:#x}"
