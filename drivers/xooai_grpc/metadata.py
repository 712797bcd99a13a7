"""How a call looks as gRPC metadata and its outcome as a status with trailers: pure functions, no input or output.

Rules: gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from typing import Any
from urllib.parse import unquote

import msgspec

from xooai.driver import Head, Outcome, Shape
from xooai.errors import Code, InvalidArgument, Unimplemented

__all__ = [
    "END",
    "ERROR",
    "ERROR_SIZE",
    "FORWARDED",
    "ID",
    "JSON",
    "KEYED",
    "LEAVING",
    "PROTOBUF",
    "TIMING",
    "Received",
    "asked",
    "codec_name",
    "codec_of_frame",
    "error_of",
    "error_size_for",
    "head_of",
    "media_type_of",
    "message_of",
    "no_protobuf",
    "outcome_of",
    "own",
    "request_metadata",
    "shape_of",
    "trailers",
]

LEAVING = "xooai-leaving"  # beside a reply: the server is about to stop
TIMING = "xooai-timing"  # as in `xooai.metadata`,
ID = "x-request-id"  # likewise
KEYED = "idempotency-key"  # likewise
FORWARDED = ("x-forwarded-for", "forwarded")  # likewise
CODEC = "xooai-codec"  # json, msgpack, or a media type: what the frames are in
ACCEPT = "xooai-accept"  # likewise, for the reply, where it is to be in another codec
SHAPE = "xooai-shape"  # unary, client, server or bidi: gRPC's own protocol does not tell
END = "xooai-end"  # the message by which a stream of requests ends: one without it was cut off, which grpcio does not tell
PUSHBACK = (
    "grpc-retry-pushback-ms"  # when to come back (https://github.com/grpc/proposal/blob/master/A6-client-retries.md)
)
ERROR = "xooai-error-bin"  # JSON with "details" and "id", beside a status of ours that is not OK

JSON = "application/json"
_MEDIA_TYPES = {"json": JSON, "msgpack": "application/msgpack"}
PROTOBUF = "proto"  # instead of a media type, in a head as it arrives: what no site reads as it is
_CODECS = {media_type: name for name, media_type in _MEDIA_TYPES.items()}
_SHAPES = {"unary": Shape.UNARY, "client": Shape.CLIENT, "server": Shape.SERVER, "bidi": Shape.BIDI}
_SHAPE_NAMES = {shape: name for name, shape in _SHAPES.items()}
# What the transport writes: never metadata, in neither direction.
_RESERVED = frozenset(
    "connection content-type host keep-alive proxy-connection te transfer-encoding upgrade".split()
) | {CODEC, ACCEPT, SHAPE, END, ERROR}
_LONGEST = 2**31 / 1000  # seconds: clients read milliseconds of 32 bits, and more as never
_NAME = frozenset("0123456789abcdefghijklmnopqrstuvwxyz_-.")  # the protocol's Custom-Metadata

METADATA_SIZE = (
    30 * 1024
)  # bytes of a call's own metadata: of 32 KiB that a server takes, the rest is for the transport
ENTRY = 32  # bytes that an entry counts beside its name and value (RFC 9113 6.5.2), as gRPC's core does
MESSAGE_SIZE = 4 * 1024  # bytes of an error's message, which escaping may treble
ERROR_SIZE = 32 * 1024  # bytes of an error's details to a client of ours, which takes so much,
ERROR_SIZE_ABROAD = 3 * 1024  # and to another, which may have gRPC's own limit: 8 KiB for all trailers

Pair = tuple[str, str | bytes]


class Received(Mapping[str, str]):
    """The metadata in what came from the peer, read only when somebody asks: the last value of a name counts."""

    __slots__ = ("_raw", "_read")

    def __init__(self, raw: Iterable[Pair]) -> None:
        self._raw = raw
        self._read: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._read is None:
            self._read = {name: value for name, value in self._raw if isinstance(value, str) and not _is_reserved(name)}
        return self._read

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Received({sorted(self._all())})"  # names only: a value may be a secret


def _is_reserved(name: str) -> bool:
    return name in _RESERVED or name.startswith(("grpc-", ":")) or name.endswith("-bin")


# The request.


def request_metadata(head: Head, end: str) -> tuple[tuple[str, str], ...]:
    """What a client sends for `head` beside its path and timeout; `end` is how it ends a stream. Raises InvalidArgument."""
    pairs = [(CODEC, _codec_name("the codec", head.codec)), (SHAPE, _SHAPE_NAMES[head.shape])]
    if head.shape & Shape.CLIENT:
        pairs.append((END, end))
    if head.accept:
        pairs.append((ACCEPT, _codec_name("the accepted codec", head.accept)))
    return (*pairs, *own(head.metadata))


def codec_name(media_type: str) -> str:
    """How metadata call a codec."""
    return _CODECS.get(media_type, media_type)


def media_type_of(codec: str) -> str:
    """The media type of a codec as metadata call it."""
    return _MEDIA_TYPES.get(codec, codec)


def _codec_name(what: str, media_type: str) -> str:
    return _CODECS.get(media_type) or _value(what, media_type)


def own(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Metadata of a user's as gRPC takes it. Raises InvalidArgument."""
    size = 0
    for name, value in metadata.items():
        lower = name.lower()
        if _is_reserved(lower):
            raise InvalidArgument(f"metadata {name!r} is a name that gRPC or the driver uses; take another name")
        if not lower or not _NAME.issuperset(lower):
            raise InvalidArgument(f"metadata name {name!r} is not made of letters, digits and -._")
        text = _value(f"the value of metadata {name!r}", value).strip()
        size += len(lower) + len(text) + ENTRY
        if size > METADATA_SIZE:
            raise InvalidArgument(
                f"the metadata has more than {METADATA_SIZE:,} bytes, {ENTRY} for each entry among them; "
                "send such data in a document"
            )
        yield lower, text


def _value(what: str, value: object) -> str:
    # A codec may be a media type that came with a document: a line break in it would let a peer write our metadata.
    if not isinstance(value, str) or not value.isprintable() or not value.isascii():
        raise InvalidArgument(f"{what} is not printable ASCII text")
    return value


def error_size_for(found: Mapping[str, str | bytes]) -> int:
    """What a client takes of an error's details: ours are known by the shape that only these send."""
    return ERROR_SIZE if SHAPE in found else ERROR_SIZE_ABROAD


def shape_of(found: Mapping[str, str | bytes]) -> Shape | None:
    """The shape that a request says it has; None where it does not. Raises InvalidArgument."""
    given = found.get(SHAPE)
    if given is None:
        return None
    shape = _SHAPES.get(str(given))
    if shape is None:
        raise InvalidArgument(f"{SHAPE} is {str(given)[:40]!r}; it takes one of: {', '.join(_SHAPES)}")
    return shape


def head_of(path: str, raw: Iterable[Pair], found: Mapping[str, Any], shape: Shape) -> Head:
    """The head of a call as it arrives, `found` being `dict(raw)`. Its codec is "" where the metadata does not tell.

    Raises Unimplemented for a reply in protobuf to what is not.
    """
    codec, accept = found.get(CODEC, ""), found.get(ACCEPT, "")
    if accept and (codec == PROTOBUF) != (accept == PROTOBUF):
        raise Unimplemented(
            f"{ACCEPT} is {accept[:40]!r}; a call in protobuf is answered in protobuf, and no other is",
            details={"reason": "codec"},
        )
    return Head(
        path=unquote(path) if "%" in path else path,
        codec=_MEDIA_TYPES.get(codec, codec),
        accept="" if accept == PROTOBUF else _MEDIA_TYPES.get(accept, accept),
        shape=shape,
        metadata=Received(raw),
        is_timed=TIMING in found,
        is_named=ID in found,
        is_keyed=KEYED in found,
    )


def codec_of_frame(frame: bytes | None) -> str:
    """The codec of a request that does not say it, by its first frame: no message of proto3 begins as an object of JSON."""
    return JSON if frame is not None and frame[:1] == b"{" else PROTOBUF


def no_protobuf() -> Unimplemented:
    """For a call in protobuf where nothing says what the messages are."""
    known = ", ".join(_MEDIA_TYPES)
    return Unimplemented(
        f"protobuf messages are not understood here; send JSON, or metadata {CODEC} with one of: {known}",
        details={"reason": "codec"},
    )


# The reply.


def asked(head: Head) -> str:
    """The codec that the reply is in unless its trailers say otherwise."""
    return head.accept or head.codec


def trailers(outcome: Outcome, head: Head, error_size: int = ERROR_SIZE) -> tuple[Pair, ...]:
    """What a server sends with the status: of an error's details at most `error_size` bytes.

    Raises InvalidArgument for metadata that gRPC cannot carry.
    """
    if outcome.code == Code.OK:
        if not outcome.metadata and (not outcome.codec or outcome.codec == asked(head)):
            return ()
        pairs: list[Pair] = [(CODEC, _codec_name("the codec", outcome.codec))] if outcome.codec else []
    else:
        pairs = [(ERROR, _error(outcome, error_size))]
        after = outcome.details.get("retry_after")
        if isinstance(after, int | float) and 0 <= after < _LONGEST:
            pairs.append((PUSHBACK, str(ceil(after * 1000))))
    return (*pairs, *own(outcome.metadata))


def _error(outcome: Outcome, limit: int) -> bytes:
    """Details and id as JSON. Details that are too large go without the last mistakes, then without all that is long."""
    found: dict[str, Any] = {}
    if outcome.id is not None:
        found["id"] = outcome.id
    if outcome.details:
        found["details"] = details = dict(outcome.details)
        written = msgspec.json.encode(found)
        mistakes = details.get("errors")
        while len(written) > limit and isinstance(mistakes, list | tuple) and mistakes:
            mistakes = details["errors"] = mistakes[: len(mistakes) // 2]
            written = msgspec.json.encode(found)
        if len(written) <= limit:
            return written
        found["details"] = {name: value for name, value in details.items() if _is_short(value)}
        written = msgspec.json.encode(found)
        if len(written) <= limit:
            return written
        del found["details"]
    return msgspec.json.encode(found)


def _is_short(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < 100)


def message_of(outcome: Outcome) -> str:
    """The message as a status carries it: cut where it is too long."""
    written = outcome.message.encode("utf-8", "replace")
    if len(written) <= MESSAGE_SIZE:
        return written.decode()
    return written[:MESSAGE_SIZE].decode("utf-8", "ignore") + " …"


def outcome_of(head: Head, raw: Iterable[Pair]) -> Outcome:
    """How a call ended that was answered, from its trailers."""
    found = dict(raw)
    codec = str(found.get(CODEC, ""))
    return Outcome(codec=_MEDIA_TYPES.get(codec, codec) or asked(head), metadata=Received(raw))


def error_of(code: int, message: str, raw: Iterable[Pair]) -> Outcome | None:
    """How a call ended that failed, from status and trailers; None where the status is not a xooai server's."""
    given = dict(raw).get(ERROR)
    if not isinstance(given, bytes):
        return None
    try:
        found = msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    details, id = found.get("details"), found.get("id")
    return Outcome(
        code=code,
        message=message,
        details=details if isinstance(details, dict) else {},
        id=id if isinstance(id, str) else None,
        metadata=Received(raw),
    )
