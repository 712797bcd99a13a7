"""What is said of a content that does not decode, or not here."""

from __future__ import annotations

import re

from xooai.errors import InvalidArgument, ResourceExhausted

__all__ = ["too_much", "undecodable"]

# Libraries name the file object that they read: an address of this process, which is nothing for a peer.
_OBJECT = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")


def undecodable(what: str, why: object) -> InvalidArgument:
    """The one error for it: `what` names the content, as "image", `why` says what is wrong, and what would be right."""
    return InvalidArgument(
        f"the {what} does not decode: {_OBJECT.sub('the content', str(why))}", details={"reason": "media"}
    )


def too_much(what: str) -> ResourceExhausted:
    """The error for a content within the limits of its header, for which there is not enough memory."""
    return ResourceExhausted(f"the {what} takes more memory to decode than there is", reason="size")
