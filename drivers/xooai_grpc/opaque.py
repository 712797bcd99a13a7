"""The service that reaches every endpoint with bytes: for who has a stub of it, and none of the executors' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from msgspec.structs import replace

from xooai.driver import Channel, Head, Outcome, Shape, Site
from xooai.errors import InvalidArgument, Unimplemented
from xooai.proto import Field, File, Message, Method
from xooai_grpc.descriptors import added
from xooai_grpc.metadata import FORWARDED, ID, KEYED, TIMING, codec_name, media_type_of, own
from xooai_grpc.typed import messages_of

__all__ = ["FILE", "Opaque", "OpaqueChannel"]

_OK = Outcome()

FILE = File(
    package="xooai",
    service="Endpoints",
    methods=(
        Method("Post", "/xooai.Endpoints/Post", Shape.UNARY, "Request", "Reply", comment="Call an endpoint."),
        Method(
            "Stream",
            "/xooai.Endpoints/Stream",
            Shape.BIDI,
            "Request",
            "Reply",
            comment="Call an endpoint that streams its requests, its replies, or both.",
        ),
    ),
    messages=(
        Message(
            "Request",
            "object",
            (
                Field(
                    "path", 1, "string", key="path", comment="`executor/endpoint`, in the first message of a stream."
                ),
                Field(
                    "payload",
                    2,
                    "bytes",
                    key="payload",
                    comment="The object of the arguments; in later messages of a stream an item.",
                ),
                Field(
                    "codec",
                    3,
                    "string",
                    key="codec",
                    comment="`json`, which it is where nothing is said, `msgpack`, or a media type.",
                ),
                Field(
                    "metadata",
                    4,
                    "string",
                    "map",
                    "metadata",
                    comment="Beside that of gRPC itself, which stands above it.",
                ),
            ),
        ),
        Message(
            "Reply",
            "object",
            (
                Field("payload", 1, "bytes", key="payload", comment="The reply, or an item of it."),
                Field("codec", 2, "string", key="codec", comment="What it is in: as the request's."),
            ),
        ),
    ),
)
"""The file `xooai.proto`, which the package has beside this module."""


class Opaque:
    """The service of one listener."""

    def __init__(self) -> None:
        self.pool = DescriptorPool()
        added(FILE, self.pool)
        messages = messages_of(FILE, self.pool)
        self._request, self._reply = messages["Request"], messages["Reply"]

    def read(self, message: bytes) -> Mapping[str, Any]:
        found: dict[str, Any] = self._request.read(self._request.parsed(message, is_closed=True))
        return found

    def write(self, payload: bytes, codec: str) -> bytes:
        return self._reply.write({"payload": payload, "codec": codec_name(codec)})

    async def opened(self, channel: Channel, site: Site) -> OpaqueChannel:
        """The call that a channel's first message asks for. Raises InvalidArgument or Unimplemented."""
        message = await channel.receive()
        if message is None:
            raise InvalidArgument("the stream has no message; its first names the path")
        first, outer = self.read(message), channel.head
        if not first["path"]:
            raise InvalidArgument("no path; it takes `executor/endpoint`")
        if first["codec"] == "proto":
            raise Unimplemented("a payload is in json, msgpack or a media type", details={"reason": "codec"})
        outer.codec = media_type_of(first["codec"] or "json")
        path = f"/{first['path'].removeprefix('/')}"
        # No proxy has seen what the message holds: where the call came from, and all that one has set, is told beside it.
        within = {name: value for name, value in own(first["metadata"]) if name not in FORWARDED}
        metadata = {**within, **outer.metadata}
        head = Head(
            path=path,
            codec=outer.codec,
            shape=site.shape(path) or Shape.UNARY if outer.shape else Shape.UNARY,
            timeout=outer.timeout,
            metadata=metadata,
            peer=outer.peer,
            identity=outer.identity,
            is_timed=TIMING in metadata,
            is_named=ID in metadata,
            is_keyed=KEYED in metadata,
        )
        return OpaqueChannel(head, channel, self, first["payload"])


class OpaqueChannel:
    """One call, its frames being the payloads of messages."""

    def __init__(self, head: Head, channel: Channel, service: Opaque, first: bytes) -> None:
        self.head = head
        self._channel = channel
        self._service = service
        self._first: bytes | None = first

    @property
    def outcome(self) -> Outcome | None:
        return None

    @property
    def held(self) -> int:
        """See `xooai.driver.Holding`."""
        return 0 if self._first is None else len(self._first)

    async def receive(self) -> bytes | None:
        first, self._first = self._first, None
        if first is not None:
            return first
        message = await self._channel.receive()
        if message is None:
            return None
        found = self._service.read(message)
        for name in ("path", "codec", "metadata"):
            if found[name]:
                raise InvalidArgument(f"the {name} is given by the first message of a stream")
        payload: bytes = found["payload"]
        return payload

    async def send(self, frame: bytes) -> None:
        await self._channel.send(self._service.write(frame, self.head.codec))

    async def end(self, frame: bytes | None = None, outcome: Outcome = _OK) -> None:
        message = None if frame is None else self._service.write(frame, outcome.codec or self.head.codec)
        await self._channel.end(message, replace(outcome, codec=""))

    def abort(self) -> None:
        self._channel.abort()
