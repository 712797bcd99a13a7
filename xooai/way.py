"""The way of documents to one peer: how much a message takes, and where contents go that are too large for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from xooai.codec import MSGPACK, Codec
from xooai.doc import Doc, origin_of
from xooai.lazy import lazy
from xooai.origin import Origin
from xooai.store_ref import is_of_peer
from xooai.walk import documents

if TYPE_CHECKING:
    from xooai import ref as refs
    from xooai.store import Content
else:
    refs = lazy("xooai.ref")

__all__ = ["INLINE", "Way", "inlined", "leaves", "room", "stays"]

INLINE = 256 * 1024  # bytes of a local file that go inline: to ask for a place for them takes about as long

IN_JSON = 74  # hundredths of a message, for contents: there they take a third more, and other fields need some
IN_MSGPACK = 99  # there contents stand as they are
SHORT = 1024  # characters of a text that are not counted one by one


class Way(Protocol):
    """To one peer, for one call."""

    inline_limit: int
    """Bytes up to which the content of a local ref goes inline."""

    message_limit: int
    """Bytes of a message."""

    room: int
    """How many of these are for contents."""

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
    if not isinstance(value, str) or value.isascii():
        return len(value)
    return 4 * len(value) if len(value) <= SHORT else len(value.encode(errors="surrogatepass"))


def room(limit: int, codec: Codec) -> int:
    """Bytes that a message of at most `limit` has for contents: what was given inline arrives inline as far as one takes it."""
    return limit * (IN_MSGPACK if codec is MSGPACK else IN_JSON) // 100


def stays(value: Any, room: int) -> bool:
    """Whether a value may leave this process as it is: no file has to be read, no content kept elsewhere for want of room."""
    total = 0
    for doc in documents(value):
        content = doc.value
        if content is not None:
            total += inlined(content)
        elif not leaves(doc) or is_of_peer(doc.ref):
            return False
    return total <= room
