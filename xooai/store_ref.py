"""Refs to contents in stores: `store:<name>/<signature>`, with a grant where one was given."""

from __future__ import annotations

import re

import msgspec

from xooai.errors import InvalidArgument

__all__ = ["EMBEDDED", "NAME", "SCHEME", "StoreRef", "is_of_peer", "is_store_ref"]

SCHEME = "store:"
EMBEDDED = "xooai"
"""The name of the store that every server has itself: it means that of the server at the other end of a call."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What a store may be called: no separator, so that a name can never be taken for a path or a URL."""

_REF = (
    rf"store:(?P<name>{NAME})/(?P<signature>[a-z0-9]{{1,20}}:[0-9a-f]{{64}})(?:\?g=(?P<grant>[A-Za-z0-9.]{{1,200}}))?"
)


class StoreRef(msgspec.Struct, frozen=True):
    """A content in the store called `name`; `grant` is a permission of who keeps it, as text."""

    name: str
    signature: str
    grant: str = ""

    @classmethod
    def of(cls, ref: str) -> StoreRef:
        """Read a ref. Raises InvalidArgument."""
        found = re.fullmatch(_REF, ref)
        if found is None:
            raise InvalidArgument(
                f"{ref[:100]!r} is no ref to a store; it is store:<name>/sha256:<64 hex digits>, as a store has given it"
            )
        return cls(found["name"], found["signature"], found["grant"] or "")

    def __str__(self) -> str:
        grant = f"?g={self.grant}" if self.grant else ""
        return f"{SCHEME}{self.name}/{self.signature}{grant}"


def is_store_ref(ref: str | None) -> bool:
    """Whether a ref is meant to lead into a store."""
    return ref is not None and ref.startswith(SCHEME)


def is_of_peer(ref: str | None) -> bool:
    """Whether a ref is meant to lead into the store that the other end of a call has itself: it says nothing elsewhere."""
    return ref is not None and ref.startswith(f"{SCHEME}{EMBEDDED}/")
