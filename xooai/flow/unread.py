"""Values as the bytes that came: what a peer has sent goes on as it is, and is read at most once, when somebody looks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from xooai.codec import JSON, MSGPACK, Codec, codec_of, located
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, Unimplemented, XooaiError
from xooai.origin import Origin
from xooai.payload import from_peer, unfit
from xooai.schema import Schema
from xooai.store_ref import EMBEDDED, SCHEME

__all__ = [
    "Packed",
    "Reply",
    "Request",
    "Seen",
    "Unread",
    "Written",
    "accepted",
    "answered",
    "is_bound",
    "look",
    "packed",
    "split",
    "together",
]

_BOUND = f"{SCHEME}{EMBEDDED}/".encode()
_ESCAPED = re.compile(rb"\\(?:u00[2-7]|(?<=%b\\)/)" % EMBEDDED.encode())


def is_bound(frame: bytes) -> bool:
    """Whether a frame may name contents that its sender keeps, for who asks there with its grant: nobody else can read them.

    JSON can write it in other ways: whatever letter has an escape may be one of it.
    """
    return frame.find(_BOUND) >= 0 or (frame.find(b"\\") >= 0 and _ESCAPED.search(frame) is not None)


class Unread:
    """A value that nobody has looked at yet. No ABC: to ask whether something is one would cost a call of Python."""

    def value(self) -> Any:
        """The value; read when it is first asked for. Raises XooaiError."""
        raise NotImplementedError


def look(value: Any) -> Any:
    """The value, which may be unread."""
    return value.value() if isinstance(value, Unread) else value


class Written(Unread):
    """What is one frame."""

    __slots__ = ("_bound", "codec", "frame")

    def __init__(self, frame: bytes, codec: Codec) -> None:
        self.frame, self.codec = frame, codec
        self._bound: bool | None = None

    @property
    def is_bound(self) -> bool:
        """Whether it may name what its sender keeps, see above."""
        if self._bound is None:
            self._bound = is_bound(self.frame)
        return self._bound


class Reply(Written):
    """What a server has answered."""

    __slots__ = ("_read", "node", "origin", "schema", "where")

    def __init__(self, frame: bytes, codec: Codec, schema: Schema, origin: Origin, where: tuple[str, ...]) -> None:
        """`where` is the server, the executor's name and the endpoint's, in as many parts as they come."""
        self.frame, self.codec, self._bound = frame, codec, None  # as above: each reply of a node passes here
        self.schema, self.origin, self.where = schema, origin, where
        self.node = ""
        self._read: tuple[Any] | None = None

    def value(self) -> Any:
        if self._read is None:
            try:
                self._read = (from_peer(self.schema, self.codec, self.frame, self.origin),)
            except InvalidArgument as error:
                raise self._unfit(error) from error
        return self._read[0]

    @property
    def is_read(self) -> bool:
        """Whether somebody has looked."""
        return self._read is not None

    def part(self, schema: Schema, frame: bytes, place: Sequence[str]) -> Any:
        """What stands in one place of it, whose bytes these are. Raises XooaiError that names the place."""
        try:
            return from_peer(schema, self.codec, frame, self.origin)
        except InvalidArgument as error:
            raise self._unfit(located(error, *place)) from error

    def _unfit(self, error: InvalidArgument) -> XooaiError:
        where = "/".join(self.where)
        if not self.node:
            return unfit(where, error)
        told, details = unfit(f"node {self.node!r} ({where})", error), {"node": self.node}
        told.details |= details
        told._to_peers = unfit(f"node {self.node!r}", error).message, details  # where it is, is nothing for them
        return told


def answered(frame: bytes, media_type: str, schema: Schema, origin: Origin, where: tuple[str, ...]) -> Reply:
    """What a server has answered, which has to be one value and no more: it will stand among others. Raises Internal."""
    try:
        codec = codec_of(media_type)
        if codec is JSON:
            _one_of_json(frame)
            if not frame.isascii():
                frame.decode()
        else:
            _one_of_msgpack(frame)
    except Unimplemented as error:
        raise _unfit(where, error.message) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unfit(where, f"it is no {codec.media_type}: {error}") from error
    return Reply(frame, codec, schema, origin, where)


def _unfit(where: tuple[str, ...], why: str) -> XooaiError:
    told = unfit("its server", InvalidArgument(why))
    told._server = where[0]
    return told


class Replies(Written):
    """Those of several nodes, by id."""

    __slots__ = ("_replies",)

    def __init__(self, replies: Mapping[str, Reply], codec: Codec) -> None:
        super().__init__(_written(codec, {id: msgspec.Raw(reply.frame) for id, reply in replies.items()}), codec)
        self._replies = replies

    def value(self) -> dict[str, Any]:
        return {id: reply.value() for id, reply in self._replies.items()}


def together(replies: Mapping[str, Any], wanted: str) -> Replies | None:
    """Replies as one, where all are unread and of the wanted media type."""
    if all(type(reply) is Reply and reply.codec.media_type == wanted for reply in replies.values()):
        return Replies(replies, codec_of(wanted))
    return None


class Request(Unread):
    """The arguments of a call to a served Flow."""

    __slots__ = ("_parts", "_read", "codec", "endpoint", "frame", "origin")

    def __init__(self, endpoint: Endpoint, codec: Codec, frame: bytes, origin: Origin) -> None:
        self.endpoint, self.codec, self.frame, self.origin = endpoint, codec, frame, origin
        self._read: dict[str, Any] | None = None
        self._parts: dict[str, Any] | None = None

    def value(self) -> dict[str, Any]:
        """The arguments by name. Raises InvalidArgument."""
        if self._read is None:
            self._read = from_peer(self.endpoint.arguments, self.codec, self.frame, self.origin)
        return self._read

    def parts(self) -> Mapping[str, Any]:
        """The arguments by name, as bytes of the request's codec. Raises InvalidArgument, as reading them does."""
        if self._parts is None:
            parts = split(self.codec, self.frame)
            if parts is None or not self._is_complete(parts):
                parts = _again(self.endpoint, self.codec, self.value())
            self._parts = parts
        return self._parts

    def _is_complete(self, parts: Mapping[str, Any]) -> bool:
        known = self.endpoint.parameters
        return parts.keys() == known.keys() or (
            parts.keys() <= known.keys()
            and all(name in parts for name, parameter in known.items() if parameter.required)
        )


def split(codec: Codec, frame: bytes) -> dict[str, Any] | None:
    """The members of an object; None for what is none, or is not written as most do it, so that a doubled name might hide."""
    try:
        if codec is JSON:
            parts = _JSON.decode(frame)
            return parts if _written(JSON, parts) == frame or _spaced(parts) == frame else None
        parts = _MSGPACK.decode(frame)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return parts if _members(frame) == len(parts) else None


def _again(endpoint: Endpoint, codec: Codec, value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.Raw(codec.encode(endpoint.schema_of(endpoint.parameters[name]), one))
        for name, one in value.items()
    }


def _members(frame: bytes) -> int:
    """How many members a map of msgpack has."""
    first = frame[0]
    if first in (_MAP16, _MAP32):
        return int.from_bytes(frame[1 : 3 if first == _MAP16 else 5], "big")
    return first & 0x0F if first >> 4 == _FIXMAP else -1


_MAP16, _MAP32, _FIXMAP = 0xDE, 0xDF, 0x8
_JSON = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MSGPACK = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_one_of_json = msgspec.json.Decoder(msgspec.Raw).decode
_one_of_msgpack = msgspec.msgpack.Decoder(msgspec.Raw).decode
_write_json = msgspec.json.Encoder().encode
_write_msgpack = msgspec.msgpack.Encoder().encode


def _written(codec: Codec, pieces: Any) -> bytes:
    return _write_json(pieces) if codec is JSON else _write_msgpack(pieces)


def _spaced(parts: Mapping[str, Any]) -> bytes:
    """As Python's own encoder writes it, with spaces."""
    return b"{" + b", ".join(b"%b: %b" % (_write_json(name), bytes(part)) for name, part in parts.items()) + b"}"


class Packed:
    """The request of a call to a server, made of what others have sent."""

    __slots__ = ("codec", "frame")

    def __init__(self, frame: bytes, codec: Codec) -> None:
        self.frame, self.codec = frame, codec


def packed(pieces: Any, codec: Codec) -> Packed:
    """A request of pieces by name, which may be lists or mappings of pieces."""
    return Packed(_written(codec, pieces), codec)


def accepted(endpoint: Endpoint, codec: Codec) -> str:
    """The media type that a reply is to have which others are to read: that of the request, but for documents.

    Those come as msgpack, in which large contents need not be inline.
    """
    return MSGPACK.media_type if codec is not MSGPACK and endpoint.result.facts.documents else ""


class Seen(Mapping[str, Any]):
    """Replies by id, read where they are taken."""

    def __init__(self, replies: Mapping[str, Any]) -> None:
        self._replies = replies

    def __contains__(self, id: object) -> bool:
        return id in self._replies

    def __getitem__(self, id: str) -> Any:
        return look(self._replies[id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._replies)

    def __len__(self) -> int:
        return len(self._replies)
