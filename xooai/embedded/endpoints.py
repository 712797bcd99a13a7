"""The endpoints of `store:xooai`, the same over every driver: who calls them, and who answers, reads them here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from xooai.endpoint import Endpoint

__all__ = ["CONTENTS", "Given", "Offered", "download", "offer", "upload"]

CONTENTS = 1000  # in one offer: more than one message has documents of this size

Signature = Annotated[str, Field(pattern="^[a-z0-9]{1,20}:[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Offered(BaseModel):
    """A content that a peer has, by what it is."""

    model_config = ConfigDict(extra="forbid")

    signature: Signature
    size: Size


class Given(BaseModel):
    """What there is of a content: the `ref` by which calls may name it, else the bytes that came so far, to be gone on from."""

    ref: str | None = None
    place: Size = 0


class _Own:
    """Under the reserved name `xooai`. The server's keeper answers."""

    async def offer(self, contents: Annotated[list[Offered], Field(max_length=CONTENTS)]) -> list[Given]:
        """Ask for contents, before they are sent: those that this caller has sent before are not sent again."""
        raise NotImplementedError

    async def upload(self, signature: Signature, size: Size, place: Size, chunks: AsyncIterator[bytes]) -> Given:
        """Send a content, or the rest of one from `place` on, in chunks of at most a MiB."""
        raise NotImplementedError

    async def download(self, ref: str, start: Size = 0, end: Size | None = None) -> AsyncIterator[bytes]:
        """Receive a content, or its bytes from `start` up to `end`."""
        raise NotImplementedError
        yield b""


@cache
def offer() -> Endpoint:
    """`/xooai/offer`."""
    return Endpoint.of(_Own.offer, "xooai", "offer", globals())


@cache
def upload() -> Endpoint:
    """`/xooai/upload`."""
    return Endpoint.of(_Own.upload, "xooai", "upload", globals(), streams=True)


@cache
def download() -> Endpoint:
    """`/xooai/download`."""
    return Endpoint.of(_Own.download, "xooai", "download", globals(), streams=True)
