"""Metadata: the names and texts beside a call and its reply, held to what HTTP headers take, whichever way they go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xooai.errors import InvalidArgument

__all__ = [
    "ATTEMPT_HEADER",
    "BATCHES_HEADER",
    "FORWARDED",
    "HOPS_HEADER",
    "IDEMPOTENCY_KEY",
    "ID_HEADER",
    "RESERVED",
    "TIMEOUT_HEADER",
    "TIMES",
    "TIMING",
    "TRACE_HEADERS",
    "Inquiry",
    "is_sendable",
    "metadata_of",
    "pairs",
    "printable_ascii",
]

TIMEOUT_HEADER = "xooai-timeout"  # milliseconds left when the request was sent, a whole number
ID_HEADER = "x-request-id"  # by which the caller knows the call; a server that is sent one gives it back
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")  # what it is a part of (W3C Trace Context, W3C Baggage)
HOPS_HEADER = "xooai-hops"  # servers that the call came through before this one
BATCHES_HEADER = "xooai-batches"  # the batches that wait for the call, each by a name that its server has made up
ATTEMPT_HEADER = "xooai-retry-attempt"  # how many attempts of its client came before, where there were some
IDEMPOTENCY_KEY = "idempotency-key"  # calls with the same one are one (draft-ietf-httpapi-idempotency-key-header)
FORWARDED = ("x-forwarded-for", "forwarded")  # by which proxies tell where a call came from, the second by RFC 7239
TIMING = "xooai-timing"  # a caller that sends it wants to know how long the stages of its call took,
TIMES = "server-timing"  # and is told so beside the reply (https://www.w3.org/TR/server-timing/)
# Headers that say how the message itself travels: never metadata, in neither direction.
RESERVED = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type date expect host keep-alive "
    "proxy-connection server te trailer transfer-encoding upgrade".split()
) | {TIMEOUT_HEADER}
_NAME = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def metadata_of(given: Any) -> dict[str, str]:
    """What was given as metadata, as it arrives: names in lower case, texts without space around. Raises InvalidArgument."""
    if not isinstance(given, Mapping):
        raise InvalidArgument(
            f"metadata is a {type(given).__name__}; it takes names with texts: {{'x-tenant': 'acme'}}"
        )
    found: dict[str, str] = {}
    for name, value in pairs(given):
        if name in found:
            raise InvalidArgument(f"metadata {name[:80]!r} is given twice; capital letters make no other name")
        found[name] = value
    return found


def pairs(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The names and texts as headers have them. Raises InvalidArgument."""
    for name, value in metadata.items():
        lower = name.lower() if isinstance(name, str) else ""
        if lower in RESERVED:
            raise InvalidArgument(f"metadata {name!r} is a header that the driver writes; take another name")
        if not lower or not _NAME.issuperset(lower):
            raise InvalidArgument(f"metadata name {name!r} is not a token of letters, digits and -._")
        yield lower, printable_ascii(f"the value of metadata {name!r}", value).strip()


def is_sendable(name: str, value: str) -> bool:
    """Whether this is metadata that every driver carries, its name in lower case."""
    return bool(name) and name not in RESERVED and _NAME.issuperset(name) and value.isascii() and value.isprintable()


class Inquiry(dict[str, str]):
    """Metadata of a call whose caller wants to know what came of it: the server is asked for its times, and this is filled."""

    sent = received = 0
    """Bytes of the request and of the reply that crossed a wire."""
    codec = ""
    beside: Mapping[str, str] = {}
    """The metadata of the reply."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        super().__init__(metadata, **{TIMING: "1"})

    def answered(self, sent: int, received: int, codec: str, beside: Mapping[str, str]) -> None:
        """The call has ended, and this came of it."""
        self.sent, self.received, self.codec, self.beside = sent, received, codec, beside


def printable_ascii(what: str, value: object) -> str:
    """The value of a header. Raises InvalidArgument."""
    # A codec may be a media type that came with a document: a line break in it would let a peer write our headers.
    if not isinstance(value, str) or not value.isprintable() or not value.isascii():
        raise InvalidArgument(f"{what} is not printable ASCII text")
    return value
