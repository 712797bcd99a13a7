"""The way of documents to one peer: how much a message takes, and where contents go that are too large for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from xooai.doc import Doc, origin_of
from xooai.driver import MESSAGE_LIMIT
from xooai.lazy import lazy
from xooai.origin import Origin
from xooai.store_ref import is_of_peer
from xooai.walk import documents

if TYPE_CHECKING:
    from xooai import ref as refs
    from xooai.store import Content
else:
    refs = lazy("xooai.ref")

__all__ = ["INLINE", "ROOM", "Way", "inlined", "leaves", "stays"]

INLINE = 256 * 1024  # bytes of a local file that go inline: to ask for a place for them takes about as long

ROOM = 0.7  # of a message, for contents: in JSON they take a third more, and other fields need some


class Way(Protocol):
    """To one peer, for one call."""

    inline_limit: int
    """Bytes up to which the content of a local ref goes inline."""

    message_limit: int
    """Bytes of a message."""

    takes: bool
    """Whether `put` reads files whose signature is not known only once: then they are not signed before."""

    async def put(self, contents: Sequence[Content]) -> Sequence[str]:
        """Put contents where the peer can read them; the refs by which it does. Raises Unimplemented where there is no such
        place, and what a store raises.
        """

    def knows(self, origin: Origin) -> bool:
        """Whether a ref to the store that a peer has itself came from this same peer, and so says the same to it."""


def leaves(doc: Doc) -> bool:
    """Whether a document goes as it is: its content is inline, its ref is remote, or it came from a peer."""
    return doc.value is not None or origin_of(doc) is not None or not refs.is_local(doc.ref or "")


def inlined(value: Any) -> int:
    """Bytes, at most, of an inline content."""
    return len(value) if not isinstance(value, str) or value.isascii() else 4 * len(value)


def stays(value: Any, limit: int = MESSAGE_LIMIT) -> bool:
    """Whether a value may leave this process as it is: no file has to be read, no content kept elsewhere."""
    total = 0
    for doc in documents(value):
        content = doc.value
        if content is not None:
            total += inlined(content)
        elif not leaves(doc) or is_of_peer(doc.ref):
            return False
    return total <= limit * ROOM
